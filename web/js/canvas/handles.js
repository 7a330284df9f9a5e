/** The handles of what is selected: on its frame, or at the rim of the stage where that part of the frame is not seen. */

import { clamp } from "../common/numbers.js";
import { frameOf, turningHandle } from "./placing.js";

const AWAY = 26; // pixels of the stage between a frame and the handle that turns it
const RIM = 12; // and between the rim of the stage and a handle that is kept in sight

/**
 * In pixels of the picture. place: where the picture lies on the sheet (see placeOf in stage.js)
 * @returns {{corners: {x: number, y: number}[], turn: {x: number, y: number}}}
 */
export function handlesOf({ stage, sight }, { left, top, factor }, placed, scale) {
  const frame = frameOf(placed, scale);
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  const onStage = ({ x, y }) => sight.onStage({ x: left + x * factor, y: top + y * factor });
  const kept = ({ x, y }) => ({ x: clamp(x, RIM, width - RIM), y: clamp(y, RIM, height - RIM) });
  const inSight = (place) => {
    const seen = onStage(place);
    const near = kept(seen);
    if (near.x === seen.x && near.y === seen.y) return place;
    const { x, y } = sight.onSheet(near);
    return { x: (x - left) / factor, y: (y - top) / factor };
  };
  const isIn = ({ x, y }) => x > 0 && y > 0 && x < width && y < height;
  const outer = turningHandle(frame, AWAY / factor);
  const turn = isIn(onStage(outer)) ? outer : turningHandle(frame, -AWAY / factor);
  const seen = frame.corners.map(onStage);
  const overlaps = (name, side) => seen.some((each) => each[name] < side) && seen.some((each) => each[name] > 0);
  if (!overlaps("x", width) || !overlaps("y", height)) return { corners: frame.corners, turn }; // somebody has left it
  return { corners: frame.corners.map(inSight), turn: inSight(turn) };
}
