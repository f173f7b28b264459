/** What the server does not send, and why: until it does, or nobody wants it any more. Used by the page. */

export class Refusals {
  #isWanted;
  #reasons = new Map(); // item -> why

  /** `isWanted` tells it of an item. */
  constructor(isWanted) {
    this.#isWanted = isWanted;
  }

  /** An answer of the server: what is refused in it, and all that is watched. */
  take({ quotes, bars, refused }) {
    for (const item of [...quotes, ...bars]) this.#reasons.delete(item);
    for (const { item, reason } of refused ?? []) this.#reasons.set(item, reason);
  }

  /** Of the first one that is still refused, and how many others; "" for none. */
  get sentence() {
    for (const item of this.#reasons.keys()) if (!this.#isWanted(item)) this.#reasons.delete(item);
    const [first, ...others] = this.#reasons;
    const more = others.length ? ` (and ${others.length} more)` : "";
    return first ? `${first.join(": ")}${more}` : "";
  }
}
