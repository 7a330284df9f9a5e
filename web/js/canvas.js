/** The drawing surface of Stroke Canvas. */

import { StrokesView } from "./canvas/view.js";
import { hostWidget } from "./common/widget_host.js";

hostWidget({
  type: "DPATH_STROKES",
  targets: { DPathStrokeCanvas: ["drawing"] },
  minWidth: 440,
  minHeight: 480,
  build: (host) => new StrokesView(host),
});
