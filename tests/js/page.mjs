/** As much of a page as the modules need that draw on a canvas: a canvas whose pixels nobody sees. */
class Canvas {
  getContext() {
    return {
      createImageData: (width, height) => ({ width, height, data: new Uint8ClampedArray(width * height * 4) }),
      putImageData() {},
    };
  }
}

globalThis.document = { createElement: () => new Canvas() };
