// Small plots of the last quarter of an hour.
import { make, say, svg } from "./dom.js";
import { clock, number, rate } from "./format.js";

const width = 180, height = 40; // of the drawing; the page stretches it

// plot draws one or two series of points. Each is {name, of(point), tone}; bars
// are for what is mostly zero.
export class Plot {
  constructor({ name, unit = "", series, bars = false, show = number, value, foot }) {
    Object.assign(this, { name, series, bars, show, value, foot });
    this.points = [];
    this.head = make("p", { class: "value" });
    this.number = make("span");
    this.head.append(this.number, make("span", { class: "unit", text: unit && ` ${unit}` }));
    this.left = make("span");
    this.right = make("span");
    this.canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
    this.canvas.append(svg("line", { class: "base", x1: 0, x2: width, y1: height, y2: height }));
    this.marks = this.series.map((s) => svg("path", { class: bars ? s.tone : "area" }));
    this.curve = svg("path", { class: "curve" });
    this.cursor = svg("line", { class: "cursor", y1: 0, y2: height });
    this.cursor.style.display = "none";
    this.canvas.append(...this.marks, this.curve, this.cursor);
    this.element = make("div", { class: "plot" }, make("p", { class: "name", text: name }), this.head, this.canvas, make("p", { class: "foot" }, this.left, this.right));
    this.canvas.addEventListener("pointermove", (e) => this.#point(e));
    this.canvas.addEventListener("pointerleave", () => this.#unpoint());
  }

  // draw takes points of one step each, oldest first, and how many fit.
  draw(points, length) {
    this.points = points;
    this.length = length;
    const sums = points.map((p) => this.series.reduce((sum, s) => sum + s.of(p), 0));
    const top = Math.max(...sums, this.bars ? 4 : 1);
    this.x = (i) => ((length - points.length + i) / (length - 1)) * width;
    const y = (v) => height - (v / top) * (height - 2);
    if (this.bars) {
      const below = points.map(() => 0);
      this.series.forEach((s, n) => {
        let d = "";
        points.forEach((p, i) => {
          const v = s.of(p);
          if (v > 0) {
            const x = this.x(i) - 0.5;
            d += `M${x} ${y(below[i])}V${y(below[i] + v)}h1V${y(below[i])}z`;
            below[i] += v;
          }
        });
        this.marks[n].setAttribute("d", d);
      });
    } else {
      const line = points.map((p, i) => `${this.x(i).toFixed(1)} ${y(sums[i]).toFixed(1)}`).join("L");
      this.curve.setAttribute("d", points.length > 1 ? `M${line}` : "");
      this.marks[0].setAttribute("d", points.length > 1 ? `M${this.x(0)} ${height}L${line}V${height}z` : "");
    }
    this.peak = Math.max(...sums, 0);
    this.#unpoint();
  }

  #unpoint() {
    this.cursor.style.display = "none";
    say(this.number, this.value(this.points));
    say(this.left, this.foot ? this.foot(this.points) : `peak ${this.show(this.peak)}`);
    say(this.right, this.points.length ? "last 15 min" : "no history yet");
    this.canvas.setAttribute("aria-label", `${this.name}: ${this.number.textContent} now, ${this.left.textContent}, in the last 15 minutes`);
  }

  #point(e) {
    if (!this.points.length) return;
    const box = this.canvas.getBoundingClientRect();
    const at = ((e.clientX - box.left) / box.width) * (this.length - 1);
    const i = Math.min(Math.max(Math.round(at) - (this.length - this.points.length), 0), this.points.length - 1);
    const p = this.points[i];
    this.cursor.style.display = "";
    this.cursor.setAttribute("x1", this.x(i));
    this.cursor.setAttribute("x2", this.x(i));
    say(this.left, clock(p.time));
    say(this.right, this.series.map((s) => `${s.name} ${this.show(s.of(p))}`).join(", "));
  }
}

const sum = (points, of) => points.reduce((n, p) => n + of(p), 0);

// plots are those of the page. step is in seconds.
export function plots(step) {
  const last = (points) => points[points.length - 1];
  const bad = (p) => p.bad, well = (p) => p.resumed, ill = (p) => p.unresumed;
  return [
    new Plot({ name: "Streams", series: [{ name: "streams", of: (p) => p.active }], value: (ps) => (ps.length ? number(last(ps).active) : "–") }),
    new Plot({
      name: "Events", unit: "per second", show: (v) => rate(v), series: [{ name: "per second", of: (p) => p.events / step }],
      value: (ps) => (ps.length ? rate(last(ps).events / step) : "–"),
      foot: (ps) => `${number(sum(ps, (p) => p.duplicates))} repeats dropped`,
    }),
    new Plot({
      name: "Resumes", unit: "in 15 min", bars: true, series: [{ name: "went well", of: well, tone: "good" }, { name: "did not", of: ill, tone: "bad" }],
      value: (ps) => number(sum(ps, well) + sum(ps, ill)), foot: (ps) => `${number(sum(ps, well))} went well, ${number(sum(ps, ill))} did not`,
    }),
    new Plot({
      name: "Bad ends", unit: "in 15 min", bars: true, series: [{ name: "cut or gap", of: bad, tone: "bad" }],
      value: (ps) => number(sum(ps, bad)), foot: (ps) => `of ${number(sum(ps, (p) => p.ended))} that ended`,
    }),
  ];
}
