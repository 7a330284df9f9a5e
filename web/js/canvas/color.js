/** Colours as they are typed. */

/** A hex code of three or six digits, with or without #, as #rrggbb; null for anything else. */
export function hexOf(text) {
  const digits = /^\s*#?([0-9a-f]{6}|[0-9a-f]{3})\s*$/i.exec(text)?.[1].toLowerCase();
  if (!digits) return null;
  return `#${digits.length === 6 ? digits : [...digits].map((digit) => digit + digit).join("")}`;
}
