/** Sums that every widget needs. No page, no side effects. */

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
