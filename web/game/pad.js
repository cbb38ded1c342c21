// @ts-check
/** The square that is drawn on, by mouse, finger, pen or keys. Strokes are its data; the pixels are made from them. */

import { MAX_POINTS, MAX_STROKES, moved, scaled } from "./strokes.js";

/** @typedef {import("./strokes.js").Stroke} Stroke */
/** @typedef {"mouse" | "pen" | "touch"} Device */

/** The width of the pen, as a share of the pad's side. */
const PEN_WIDTH = 0.042;
const KEY_STEP = 0.02;
/** What the game tells apart; PointerEvent.pointerType may be anything. */
const DEVICES = /** @type {const} */ (["mouse", "pen", "touch"]);
/** Points beyond which the pen leaves no trace: more than may be sent, and what is sent is made to fit. */
const FULL = 4 * MAX_POINTS;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Pad {
  /** @type {Stroke[]} */ strokes = [];
  /** @type {number | null} */ #pointer = null;
  /** @type {[number, number]} */ #keyPen = [0.5, 0.5];
  #keyPenShown = false;
  #keyPenDown = false;
  #startedAt = 0;
  #points = 0;
  #side = 0;
  /** What the newest stroke was drawn with: PointerEvent.pointerType; the keyboard is none of them. @type {Device | null} */ #device = null;
  #frame = 0;
  #canvas;
  #context;
  #told;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{onStart: () => void, onMove: () => void, onLift: () => void}} told `onStart` is told before the stroke begins.
   */
  constructor(canvas, told) {
    const context = canvas.getContext("2d");
    if (!context) throw new Error("this browser draws no canvas");
    this.#canvas = canvas;
    this.#context = context;
    this.#told = told;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => this.#paintSoon());
    }
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#moves(event));
    for (const end of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
      canvas.addEventListener(end, (event) => this.#up(event));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#hideKeyPen());
  }

  /** In CSS pixels. */
  get side() {
    return this.#side;
  }

  /** What is drawn with; null: the keyboard, or something that the browser does not know. */
  get device() {
    return this.#device;
  }

  get empty() {
    return this.strokes.length === 0;
  }

  /** Whether a pen is on the pad now. */
  get penDown() {
    return this.#pointer !== null || this.#keyPenDown;
  }

  clear() {
    this.strokes = [];
    this.#points = 0;
    this.#pointer = null;
    this.#keyPenDown = false;
    this.#paintSoon();
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (this.penDown || event.button !== 0) return;
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true });
    this.#keyPenShown = false;
    this.#canvas.setPointerCapture(event.pointerId);
    if (this.#begin()) {
      this.#pointer = event.pointerId;
      this.#device = DEVICES.find((one) => one === event.pointerType) ?? null;
      this.#trace([event]);
    }
  }

  /** @param {PointerEvent} event */
  #moves(event) {
    if (event.pointerId !== this.#pointer) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.#trace(all.length ? all : [event]);
    this.#told.onMove();
  }

  /** Where the pen was; browsers disagree on the offsetX of coalesced events.
   * @param {PointerEvent[]} events
   */
  #trace(events) {
    const { left, top } = this.#canvas.getBoundingClientRect();
    for (const { clientX, clientY, timeStamp } of events) this.#add(clientX - left, clientY - top, timeStamp);
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.#told.onLift();
  }

  /** The keyboard's pen: arrows move it, the space bar puts it down and lifts it.
   * @param {KeyboardEvent} event
   */
  #key(event) {
    const arrow = ARROWS[event.key];
    if (!arrow && event.key !== " ") return;
    event.preventDefault();
    this.#keyPenShown = true;
    if (arrow) {
      const step = KEY_STEP * (event.shiftKey ? 3 : 1);
      this.#keyPen = [clamped(this.#keyPen[0] + arrow[0] * step), clamped(this.#keyPen[1] + arrow[1] * step)];
      if (this.#keyPenDown) {
        this.#addKeyPen(event.timeStamp);
        this.#told.onMove();
      }
    } else if (this.#keyPenDown) {
      this.#keyPenDown = false;
      this.#told.onLift();
    } else if (!event.repeat && !this.penDown && this.#begin()) {
      this.#keyPenDown = true;
      this.#device = null;
      this.#addKeyPen(event.timeStamp);
    }
    this.#paintSoon();
  }

  #hideKeyPen() {
    this.#keyPenShown = false;
    if (this.#keyPenDown) {
      this.#keyPenDown = false;
      this.#told.onLift();
    }
    this.#paintSoon();
  }

  /** @param {number} time */
  #addKeyPen(time) {
    this.#add(this.#keyPen[0] * this.#side, this.#keyPen[1] * this.#side, time);
  }

  /** Whether there was room for one more stroke. */
  #begin() {
    this.#told.onStart();
    if (this.strokes.length >= MAX_STROKES) return false;
    this.strokes.push([]);
    return true;
  }

  /** @param {number} x @param {number} y @param {number} time In ms of the events' clock. */
  #add(x, y, time) {
    const stroke = /** @type {Stroke} */ (this.strokes.at(-1));
    if (!moved(stroke, x, y) || this.#points >= FULL) return;
    if (this.#points === 0) this.#startedAt = time;
    this.#points += 1;
    stroke.push([x, y, Math.max(0, time - this.#startedAt)]);
    this.#paintSoon();
  }

  #resize() {
    const side = this.#canvas.clientWidth;
    if (side === 0) return;
    if (this.#side) this.strokes = scaled(this.strokes, side / this.#side);
    this.#side = side;
    const pixels = Math.round(side * devicePixelRatio);
    if (this.#canvas.width !== pixels) this.#canvas.width = this.#canvas.height = pixels;
    this.#paint();
  }

  #paintSoon() {
    this.#frame ||= requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    this.#frame = 0;
    const pen = this.#context;
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    pen.clearRect(0, 0, this.#side, this.#side);
    pen.strokeStyle = pen.fillStyle = getComputedStyle(this.#canvas).color;
    pen.lineWidth = this.#side * PEN_WIDTH;
    pen.lineCap = pen.lineJoin = "round";
    for (const stroke of this.strokes) paint(pen, stroke);
    if (this.#keyPenShown) this.#paintKeyPen(pen);
  }

  /** @param {CanvasRenderingContext2D} pen */
  #paintKeyPen(pen) {
    const [x, y] = [this.#keyPen[0] * this.#side, this.#keyPen[1] * this.#side];
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, this.#keyPenDown ? 10 : 16, 0, 7);
    pen.moveTo(x - 24, y);
    pen.lineTo(x + 24, y);
    pen.moveTo(x, y - 24);
    pen.lineTo(x, y + 24);
    pen.stroke();
  }
}

/** One stroke, its corners rounded: curves between the middles of its segments.
 * @param {CanvasRenderingContext2D} pen
 * @param {Stroke} stroke
 */
function paint(pen, stroke) {
  if (stroke.length === 0) return;
  pen.beginPath();
  pen.moveTo(stroke[0][0], stroke[0][1]);
  for (let i = 1; i < stroke.length - 1; i += 1) {
    const [x, y] = stroke[i];
    pen.quadraticCurveTo(x, y, (x + stroke[i + 1][0]) / 2, (y + stroke[i + 1][1]) / 2);
  }
  const [x, y] = stroke[stroke.length - 1];
  pen.lineTo(x, y);
  pen.stroke();
}

/** @param {number} value */
function clamped(value) {
  return Math.min(0.98, Math.max(0.02, value));
}
