// @ts-check
/** Lines over time with their uncertainty, as SVG: what is near the pointer, or chosen by arrow keys, is told in numbers. */

import { h, svg } from "../lib/dom.js";
import { percent1 } from "../lib/format.js";
import { colour } from "../lib/models.js";
import { WINDOW_S, stretches, ticks } from "./counts.js";

/**
 * @typedef {import("./counts.js").Sample} Sample
 * @typedef {{model: string, title: string, samples: Sample[]}} Series
 */

const LEFT = 44;
/** Room for the names; on a narrow figure the numbers alone. */
const RIGHT = 172;
const RIGHT_NARROW = 64;
const NARROW = 560;
const TOP = 10;
const BOTTOM = 26;
/** The least distance between two names at the lines' ends, in CSS pixels. */
const NAME_GAP = 16;
const GAP_S = 180;
const SHORTEST_S = 300;
/** A share of fewer than so many does not stretch the axis: the first drawings are right or wrong by chance. */
const FEW = 20;

export class Chart {
  /** @type {Series[]} */ #series = [];
  /** @type {number | null} */ #chosen = null;
  #svg = svg("svg", { role: "img" });
  #told = h("div", { class: "told", hidden: true });
  #figure;

  /** @param {HTMLElement} figure */
  constructor(figure) {
    this.#figure = figure;
    figure.append(this.#svg, this.#told);
    new ResizeObserver(() => this.#draw()).observe(figure);
    figure.addEventListener("pointermove", (event) => this.#choose(this.#time(event.clientX - figure.getBoundingClientRect().left)));
    figure.addEventListener("pointerleave", () => this.#choose(null));
    figure.addEventListener("blur", () => this.#choose(null));
    figure.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const { from, to } = this.#range();
      this.#choose(Math.min(to, Math.max(from, (this.#chosen ?? to) + step * WINDOW_S)));
    });
  }

  /** @param {Series[]} series */
  show(series) {
    this.#series = series.filter(({ samples }) => samples.length > 0);
    this.#draw();
  }

  /** @param {number | null} time */
  #choose(time) {
    this.#chosen = time;
    this.#draw();
  }

  #range() {
    const times = this.#series.flatMap(({ samples }) => [samples[0].at, /** @type {Sample} */ (samples.at(-1)).at]);
    const to = Math.max(...times);
    const all = this.#series.flatMap(({ samples }) => samples);
    const solid = all.filter(({ n }) => n >= FEW);
    const low = Math.min(1, ...(solid.length ? solid : all).map(({ share }) => share));
    return { from: Math.min(to - SHORTEST_S, ...times), to, low: Math.min(0.9, Math.max(0, Math.floor((low - 0.02) * 20) / 20)) };
  }

  /** @param {number} x */
  #time(x) {
    const { from, to } = this.#range();
    const plot = this.#figure.clientWidth - LEFT - right(this.#figure.clientWidth);
    return from + Math.min(1, Math.max(0, (x - LEFT) / plot)) * (to - from);
  }

  #draw() {
    const width = this.#figure.clientWidth;
    const height = this.#figure.clientHeight;
    this.#told.hidden = true;
    if (width === 0) return;
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    if (this.#series.length === 0) {
      const note = svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "No labelled drawings yet: play, and say what it was.");
      this.#svg.replaceChildren(note);
      return;
    }
    const { from, to, low } = this.#range();
    /** @param {number} at */
    const x = (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - right(width));
    /** @param {number} share */
    const y = (share) => height - BOTTOM - ((Math.max(share, low) - low) / (1 - low)) * (height - TOP - BOTTOM);
    this.#svg.replaceChildren(...axes(x, y, from, to, low, width), ...this.#series.flatMap((one) => lines(one, x, y)), ...names(this.#series, x, y, width < NARROW));
    const last = this.#series.map(({ title, samples }) => `${title} ${percent1(/** @type {Sample} */ (samples.at(-1)).share)}`);
    this.#svg.setAttribute("aria-label", `Accuracy over time; now: ${last.join(", ")}`);
    if (this.#chosen !== null) this.#tell(this.#chosen, x, y, width);
  }

  /** @param {number} time @param {(at: number) => number} x @param {(share: number) => number} y @param {number} width */
  #tell(time, x, y, width) {
    const near = this.#series.map((one) => ({ ...one, sample: nearest(one.samples, time) }));
    const at = nearest(near.map(({ sample }) => sample), time).at;
    const there = near.filter(({ sample }) => Math.abs(sample.at - at) <= WINDOW_S);
    this.#svg.append(
      svg("line", { class: "cross", x1: x(at), x2: x(at), y1: y(1), y2: y(0) }),
      ...there.map(({ model, sample }) => svg("circle", { class: "at", ...colour(model), cx: x(sample.at), cy: y(sample.share), r: 5 })),
    );
    const told = there.map(({ model, title, sample: { share, low, high, n } }) =>
      h("div", { class: "dot", ...colour(model) }, `${title} ${percent1(share)} (${percent1(low)} to ${percent1(high)}, n = ${n})`),
    );
    this.#told.replaceChildren(h("b", {}, clock(at, true)), ...told);
    this.#told.hidden = false;
    const room = width - this.#told.offsetWidth - 4;
    this.#told.style.left = `${Math.min(room, Math.max(4, x(at) + (x(at) > width / 2 ? -this.#told.offsetWidth - 12 : 12)))}px`;
  }
}

/**
 * @param {(at: number) => number} x @param {(share: number) => number} y
 * @param {number} from @param {number} to @param {number} low @param {number} width
 */
function axes(x, y, from, to, low, width) {
  const across = ticks(low, 1, 4).flatMap((share) => [
    svg("line", { class: "grid", x1: LEFT, x2: width - right(width), y1: y(share), y2: y(share) }),
    svg("text", { x: LEFT - 8, y: y(share) + 4, "text-anchor": "end" }, `${Math.round(share * 1000) / 10} %`),
  ]);
  const step = [60, 120, 300, 600, 900, 1800].find((size) => (to - from) / size <= Math.max(2, (width - LEFT - right(width)) / 90)) ?? 3600;
  const down = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    down.push(svg("text", { x: x(at), y: y(low) + 20, "text-anchor": "middle" }, clock(at)));
  }
  return [...across, ...down];
}

/** @param {Series} series @param {(at: number) => number} x @param {(share: number) => number} y */
function lines({ model, samples }, x, y) {
  return stretches(samples, GAP_S).flatMap((part) => {
    /** @param {"low" | "share" | "high"} what */
    const along = (what) => part.map((sample) => `${x(sample.at).toFixed(1)} ${y(sample[what]).toFixed(1)}`);
    return [
      svg("path", { class: "band", ...colour(model), d: `M${[...along("high"), ...along("low").reverse()].join("L")}Z` }),
      svg("path", { class: "line", ...colour(model), d: `M${along("share").join("L")}${part.length === 1 ? "h0" : ""}` }),
    ];
  });
}

/** The lines' names at their ends, moved apart where they would cover each other.
 * @param {Series[]} series @param {(at: number) => number} x @param {(share: number) => number} y
 * @param {boolean} short
 */
function names(series, x, y, short) {
  const ends = series.map(({ model, title, samples }) => ({ model, title, last: /** @type {Sample} */ (samples.at(-1)) }));
  ends.sort((a, b) => b.last.share - a.last.share);
  let free = -Infinity;
  return ends.flatMap(({ model, title, last }) => {
    free = Math.max(y(last.share) + 4, free + NAME_GAP);
    return [
      svg("circle", { class: "end", ...colour(model), cx: x(last.at), cy: y(last.share), r: 5 }),
      svg("text", { class: "name", ...colour(model), x: x(last.at) + 12, y: free }, short ? percent1(last.share) : `${title} ${percent1(last.share)}`),
    ];
  });
}

/** @param {number} width */
function right(width) {
  return width < NARROW ? RIGHT_NARROW : RIGHT;
}

/** @template {{at: number}} T @param {T[]} samples @param {number} time @returns {T} */
function nearest(samples, time) {
  return samples.reduce((best, each) => (Math.abs(each.at - time) < Math.abs(best.at - time) ? each : best));
}

/** @param {number} at In Unix seconds. @param {boolean} [seconds] */
function clock(at, seconds = false) {
  return new Date(at * 1000).toLocaleTimeString([], { hourCycle: "h23", hour: "2-digit", minute: "2-digit", ...(seconds && { second: "2-digit" }) });
}
