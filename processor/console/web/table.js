// The table of streams. A row is made once and then changed cell by cell.
import { $, dress, make, say } from "./dom.js";
import { number, span, tone, trusts } from "./format.js";

const quietAfter = 60000; // ms without a byte that catch the eye

// columns: what the server sorts by, what people read, how a cell is filled.
const columns = [
  { key: "state", title: "State", fill: pill },
  { key: "path", title: "Request", wide: true },
  { key: "policy", title: "Policy", fill: (td, s) => say(td, s.policy) },
  { key: "mode", title: "Mode", fill: (td, s) => say(td, s.mode) },
  { key: "upstream", title: "Host", kind: "host", fill: (td, s) => say(td, s.upstream || "–") },
  { key: "started", title: "Age", n: true, down: true, flip: true, fill: (td, s, now) => say(td, span((s.ended ? Date.parse(s.ended) : now) - Date.parse(s.started))) },
  { key: "last_byte", title: "Silent", n: true, down: true, flip: true, fill: silent },
  { key: "events", title: "Events", n: true, down: true, fill: (td, s) => say(td, number(s.events)) },
  { key: "duplicates", title: "Repeats", n: true, down: true, fill: (td, s) => say(td, s.duplicates ? number(s.duplicates) : "") },
  { key: "resumes", title: "Resumes", n: true, down: true, fill: (td, s) => say(td, s.resumes ? number(s.resumes) : "") },
  { key: "trust", title: "Ids", fill: trust },
  { key: "cursor", title: "Cursor", kind: "cursor", fill: (td, s) => { say(td, s.cursor); td.title = s.cursor; } },
];

// sorts are the orders that the server knows and the page offers.
export const sorts = new Set(["ended", ...columns.map((c) => c.key)]);

function pill(td, s) {
  const [kind, words] = tone(s);
  if (!td.firstChild) td.append(make("span"));
  dress(td.firstChild, `pill ${kind}`);
  say(td.firstChild, words);
}

function silent(td, s, now) {
  const ms = now - Date.parse(s.last_byte);
  say(td, s.ended ? "" : span(ms));
  td.classList.toggle("quiet", !s.ended && ms > quietAfter);
}

function trust(td, s) {
  say(td, s.trust);
  td.title = trusts[s.trust] || "";
  td.classList.toggle("muted", s.trust !== "unique" && s.trust !== "monotonic");
}

export class Table {
  // onSort gets a key with its sign, onOpen a stream's id.
  constructor({ onSort, onOpen }) {
    this.rows = new Map(); // by id: {tr, cells, button, stream}
    this.order = [];
    this.onOpen = onOpen;
    for (const c of columns) {
      const th = make("th", { scope: "col", class: `c-${c.key}${c.n ? " n" : ""}` }, make("button", { type: "button", text: c.title }));
      th.firstChild.addEventListener("click", () => onSort(this.#next(c)));
      c.th = th;
      $("heads").append(th);
    }
    $("rows").addEventListener("click", (e) => {
      const tr = e.target.closest("tr");
      if (tr && !getSelection().toString()) onOpen(tr.dataset.id);
    });
    $("rows").addEventListener("focusin", (e) => this.#rove(e.target.closest("tr")?.dataset.id));
  }

  // next is what a click on a column's head means. Of ages people want the
  // greatest first, which began the earliest.
  #next(c) {
    const first = (c.down ? "-" : "") + c.key, flipped = c.flip ? first.replace("-", "") : first;
    if (this.sort === flipped) return flipped.startsWith("-") ? flipped.slice(1) : `-${flipped}`;
    return flipped;
  }

  sorted(sort) {
    this.sort = sort;
    const key = sort.replace("-", "");
    for (const c of columns) {
      if (c.key !== key) c.th.removeAttribute("aria-sort");
      else c.th.setAttribute("aria-sort", sort.startsWith("-") !== Boolean(c.flip) ? "descending" : "ascending");
    }
  }

  // show replaces everything; rows that stay are kept.
  show(streams, now) {
    const stay = new Set(streams.map((s) => s.id));
    for (const id of [...this.rows.keys()]) if (!stay.has(id)) this.#drop(id);
    for (const s of streams) this.#set(s, now);
    this.arrange(streams.map((s) => s.id));
  }

  // change applies a difference.
  change({ changed, gone, order }, now) {
    for (const id of gone) this.#drop(id);
    for (const s of changed) this.#set(s, now);
    if (order?.length) this.arrange(order);
    else this.arrange([...this.order.filter((id) => this.rows.has(id)), ...changed.map((s) => s.id).filter((id) => !this.order.includes(id))]);
  }

  // arrange moves only what is out of place.
  arrange(order) {
    this.order = order.filter((id) => this.rows.has(id));
    let at = $("rows").firstElementChild;
    for (const id of this.order) {
      const { tr } = this.rows.get(id);
      if (tr === at) at = at.nextElementSibling;
      else $("rows").insertBefore(tr, at);
    }
    if (!this.rows.has(this.focus)) this.#rove(this.order[0]);
  }

  // tick renews what changes by itself.
  tick(now) {
    for (const row of this.rows.values()) {
      if (row.stream.ended) continue;
      for (const [i, c] of columns.entries()) if (c.flip) c.fill(row.cells[i], row.stream, now);
    }
  }

  get(id) { return this.rows.get(id)?.stream; }

  choose(id) {
    this.rows.get(this.chosen)?.tr.classList.remove("chosen");
    this.chosen = id;
    this.rows.get(id)?.tr.classList.add("chosen");
  }

  // step moves the focus by rows.
  step(n) {
    const i = this.order.indexOf(this.focus);
    const held = document.activeElement?.closest("#rows");
    const id = this.order[Math.min(Math.max(i + (held ? n : 0), 0), this.order.length - 1)];
    this.rows.get(id)?.button.focus();
  }

  // back puts the focus where it was.
  back() { (this.rows.get(this.focus)?.button || $("q")).focus(); }

  // rove lets one row at a time be reached by Tab.
  #rove(id) {
    const old = this.rows.get(this.focus), row = this.rows.get(id);
    if (old) old.button.tabIndex = -1;
    if (row) row.button.tabIndex = 0;
    this.focus = id;
  }

  #drop(id) {
    const row = this.rows.get(id);
    if (!row) return;
    const held = row.tr.contains(document.activeElement);
    const after = this.order[this.order.indexOf(id) + 1];
    row.tr.remove();
    this.rows.delete(id);
    if (held) this.rows.get(after)?.button.focus(); // a row that goes does not take the focus along
  }

  #set(s, now) {
    let row = this.rows.get(s.id);
    if (!row) {
      row = { tr: make("tr"), button: make("button", { type: "button", class: "open", tabindex: "-1" }) };
      row.tr.dataset.id = s.id;
      row.cells = columns.map((c) => make("td", { class: `c-${c.key} ${c.kind || ""}${c.n ? "n" : ""}${c.wide ? "wide" : ""}` }));
      row.method = make("span", { class: "muted" });
      row.path = make("span");
      row.button.append(row.method, " ", row.path);
      row.cells[1].append(row.button);
      row.tr.append(...row.cells);
      if (s.id === this.chosen) row.tr.classList.add("chosen");
      this.rows.set(s.id, row);
    }
    row.stream = s;
    row.tr.classList.toggle("over", Boolean(s.ended));
    say(row.method, s.method);
    say(row.path, s.path);
    row.cells[1].title = s.path;
    for (const [i, c] of columns.entries()) c.fill?.(row.cells[i], s, now);
  }
}
