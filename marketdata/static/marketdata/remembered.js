/** What a browser remembers of a visitor's choices; without a store, or with garbage in it, nothing. */

const PREFIX = "marketdata.";

/** `isValid` says whether a stored value can be used; else `otherwise`. */
export function recall(key, otherwise, isValid = (value) => typeof value === typeof otherwise) {
  try {
    const value = JSON.parse(localStorage.getItem(PREFIX + key));
    return value !== null && isValid(value) ? value : otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // forbidden or full: the choice holds until the page is closed
  }
}
