"""The parts of `./dev`, the project's own command line. The pack itself never imports them."""
