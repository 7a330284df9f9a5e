/** Sums that every widget needs. */

/** The largest of many values: given to Math.max one by one, a very long list would be more than it takes. */
export function largest(values, least = -Infinity) {
  return values.reduce((most, value) => Math.max(most, value), least);
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
