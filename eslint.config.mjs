// The rules of web/js and tests/js; ./dev lint installs what is imported here.
import { createRequire } from "node:module";

const installed = createRequire(new URL("./.dev/npm/", import.meta.url));
const js = installed("@eslint/js");
const globals = installed("globals");

const PURE = [
  "canvas/{blur,carrying,color,coverage,document,geometry,grain,layers,noise,placing,sha256,sight,svg,tiles}",
  "schedule/{maths,model}",
  "common/{language,numbers}",
];

/** The rule that imports begin like one of `starts`, a regular expression. */
const importsOnly = (starts, message) => ["error", { patterns: [{ regex: `^(?!${starts})`, message: `${message}.` }] }];

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
    files: ["web/js/*/**/*.js"],
    rules: {
      "no-restricted-imports": importsOnly(
        "\\./|\\.\\./common/|(\\.\\./){4}scripts/",
        "A folder knows itself, common/ and the page: move what widgets have in common there",
      ),
      "no-restricted-syntax": [
        "error",
        {
          selector: "Program > :matches(ExpressionStatement, IfStatement, ForStatement, ForOfStatement)",
          message: "Only entries (web/js/*.js) may do anything when loaded.",
        },
        {
          selector: "CallExpression[callee.property.name=/^(max|min|push)$/] > SpreadElement",
          message: "A list of 100,000 points is more than a call takes: use largest(), reduce or a loop.",
        },
      ],
    },
  },
  {
    // Tested in Node: no page, and no module of the page.
    files: PURE.map((name) => `web/js/${name}.js`),
    languageOptions: { globals: Object.fromEntries(Object.keys(globals.browser).map((name) => [name, "off"])) },
    rules: { "no-restricted-imports": importsOnly("\\./|\\.\\./common/", "This module runs without a page") },
  },
  { files: ["tests/js/**/*.mjs", "eslint.config.mjs"], languageOptions: { globals: globals.node } },
];
