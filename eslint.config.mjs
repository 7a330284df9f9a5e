// The rules of web/js and tests/js; ./dev lint installs what is imported here.
import { createRequire } from "node:module";

const installed = createRequire(new URL("./.dev/npm/", import.meta.url));
const js = installed("@eslint/js");
const globals = installed("globals");

const FOLDERS = ["canvas", "schedule", "filmstrip", "shared"];
const FILES = "web/js/*/**/*.js";
const PURE = ["canvas/{coverage,document,geometry}", "schedule/{maths,model}", "shared/{language,numbers}"];

/** Modules of a folder import their own folder and shared/, and nothing above. */
const closed = (folder) => ({
  files: [`web/js/${folder}/**/*.js`],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: FOLDERS.filter((each) => ![folder, "shared"].includes(each)).map((each) => ({
          group: [`**/${each}/*`],
          message: "Move what widgets share to shared/.",
        })),
      },
    ],
  },
});

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: ["error", "always", { null: "ignore" }],
      "max-lines": ["error", 450],
      "max-lines-per-function": ["error", 80],
      "max-params": ["error", 8],
      "no-implicit-globals": "error",
      "no-shadow": "error",
      "no-unneeded-ternary": "error",
      "no-unused-private-class-members": "error",
      "no-useless-return": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      "prefer-template": "error",
    },
  },
  { files: ["web/js/**/*.js"], languageOptions: { globals: globals.browser } },
  {
    // ComfyUI loads every .js file below web/: only the entries, directly in web/js, may do anything when loaded.
    files: [FILES],
    rules: {
      "no-restricted-syntax": [
        "error",
        {
          selector: "Program > :matches(ExpressionStatement, IfStatement, ForStatement, ForOfStatement)",
          message: "Only entries (web/js/*.js) may do anything when loaded.",
        },
      ],
    },
  },
  ...FOLDERS.map(closed),
  {
    // Tested in Node: no page, and no module of the page.
    files: PURE.map((name) => `web/js/${name}.js`),
    languageOptions: { globals: Object.fromEntries(Object.keys(globals.browser).map((name) => [name, "off"])) },
  },
  { files: ["tests/js/**/*.mjs", "eslint.config.mjs"], languageOptions: { globals: globals.node } },
];
