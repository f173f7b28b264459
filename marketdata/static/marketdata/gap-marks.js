/**
 * Marks of gaps in the chart: hatched bands over the places where bars are missing, as a primitive of the candles'
 * series. A gap has at most PLACES empty places in the time scale, however long it is.
 */

const PLACES = 12;
const HATCH_PX = 6;

/** Open times to be left empty for a gap, between the bars around it. */
export function places({ start, end, bars }) {
  const count = Math.min(bars, PLACES);
  const step = (end - start) / count;
  return Array.from({ length: count }, (_, n) => Math.floor((start + n * step) / 1000) * 1000);
}

export class GapMarks {
  #chart;
  #requestUpdate = () => {};
  #gaps = [];
  #colour = "gray";

  attached({ chart, requestUpdate }) {
    this.#chart = chart;
    this.#requestUpdate = requestUpdate;
  }

  set(gaps, colour) {
    this.#gaps = gaps.map((gap) => {
      const at = places(gap);
      return [at[0] / 1000, at.at(-1) / 1000];
    });
    this.#colour = colour;
    this.#requestUpdate();
  }

  updateAllViews() {}

  paneViews() {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.#draw(target) }) }];
  }

  #draw(target) {
    const scale = this.#chart.timeScale();
    const half = scale.options().barSpacing / 2;
    target.useMediaCoordinateSpace(({ context, mediaSize: { width, height } }) => {
      context.strokeStyle = this.#colour;
      for (const [from, to] of this.#gaps) {
        const left = scale.timeToCoordinate(from);
        const right = scale.timeToCoordinate(to);
        if (left === null || right === null || right + half < 0 || left - half > width) continue;
        hatch(context, Math.max(left - half, 0), Math.min(right + half, width), height);
      }
    });
  }
}

function hatch(context, left, right, height) {
  context.save();
  context.beginPath();
  context.rect(left, 0, right - left, height);
  context.clip();
  context.beginPath();
  for (let x = left - height; x < right; x += HATCH_PX) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.restore();
}
