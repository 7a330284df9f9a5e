/** Colours as they are typed. */

/** A hex code of three or six digits, with or without #, as #rrggbb; null for anything else. */
export function hexOf(text) {
  const digits = /^\s*#?([0-9a-f]{6}|[0-9a-f]{3})\s*$/i.exec(text)?.[1].toLowerCase();
  if (!digits) return null;
  return `#${digits.length === 6 ? digits : [...digits].map((digit) => digit + digit).join("")}`;
}

/** The palette without a background. */
export const COLORS = "#1b2a3a #3b6ea5 #8fc1e3 #e8edf0 #3f6b3a #8fb04e #d9b14a #c8673a #8c2f2b #5b4636".split(" ");
