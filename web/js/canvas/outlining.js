/**
 * The tool that fills an outline: a drag draws it freely, clicks set its corners, and a drag between two clicks adds a
 * way that is drawn. It is closed by a click on its beginning, a double click, or Enter.
 */

import { addArea, AREA, Corners, REACH } from "./corners.js";
import { keptPoints } from "./geometry.js";
import { drawCorners, placeOf } from "./stage.js";
import { TOLERANCE, trace } from "./tools.js";

const DOUBLE_MS = 400;

export function outline(pointer, event) {
  const { view } = pointer;
  const reach = REACH / placeOf(view).factor;
  const at = pointer.onPicture(event);
  const open = pointer.corners;
  const isDouble = open?.isLast(at, reach) && event.timeStamp - pointer.cornerAt < DOUBLE_MS;
  if (open && (isDouble || open.isFirst(at, reach))) return (pointer.close(), null);
  const traced = trace(
    pointer,
    event,
    (ring) => {
      const way = simplified(ring);
      if (!open) return addArea(view, way);
      open.add(way);
      if (open.isFirst({ x: way.at(-2), y: way.at(-1) }, reach)) pointer.close();
    },
    ([x, y]) => {
      pointer.corners ??= new Corners(view, AREA);
      pointer.corners.add([x, y]);
      pointer.cornerAt = event.timeStamp;
    },
  );
  const guide = (context) => drawCorners(context, view, [...(open?.points ?? []), ...traced.ring]);
  return { ...traced, guide };
}

function simplified(ring) {
  const points = Array.from({ length: ring.length / 2 }, (_, i) => [ring[2 * i], ring[2 * i + 1], 0]);
  return keptPoints(points, TOLERANCE).flatMap((i) => points[i].slice(0, 2));
}
