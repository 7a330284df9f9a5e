/**
 * Answers tests that are written in Python: reads {module, name, calls} from its input, calls the module's function
 * with each list of arguments, and writes a list of {value} and {error}.
 */
import "./page.mjs";

import { readFileSync } from "node:fs";

const { module, name, calls } = JSON.parse(readFileSync(0, "utf8"));
const { [name]: asked } = await import(`../../${module}`);

function answer(given) {
  try {
    return { value: asked(...given) };
  } catch (error) {
    return { error: error.message };
  }
}

process.stdout.write(JSON.stringify(calls.map(answer)));
