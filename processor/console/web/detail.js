// One stream: what is known of it, and what happened to it.
import { $, make, say } from "./dom.js";
import { bytes, clock, moment, number, since, span, tone, trusts } from "./format.js";

const facts = [
  ["id", (s) => s.id],
  ["session", (s) => s.session.slice(0, 12)],
  ["policy", (s) => `${s.policy}, ${s.mode}`],
  ["host", (s) => s.upstream || "not known"],
  ["started", (s) => `${clock(s.started)}, ${span(Date.parse(s.ended || s.now) - Date.parse(s.started))} ${s.ended ? "long" : "ago"}`],
  ["last byte", (s) => clock(s.last_byte)],
  ["events", (s) => `${number(s.events)}, ${bytes(s.bytes)}`],
  ["repeats", (s) => `${number(s.duplicates)} dropped`],
  ["resumes", (s) => number(s.resumes)],
  ["comments", (s) => number(s.heartbeats)],
  ["cursor", (s) => s.cursor || "none"],
  ["ids", (s) => trusts[s.trust] || s.trust],
];

export class Detail {
  constructor({ onClose }) {
    this.onClose = onClose;
    this.cells = facts.map(([name]) => {
      const dd = make("dd");
      $("facts").append(make("dt", { text: name }), dd);
      return dd;
    });
    $("close").addEventListener("click", () => this.close());
  }

  // open shows a stream; focus goes to it if somebody asked for it by hand.
  async open(id, byHand) {
    this.id = id;
    $("detail").hidden = false;
    $("detail").parentElement.classList.add("open");
    await this.renew();
    if (byHand && this.id === id) $("detail-title").focus();
  }

  close() {
    if (!this.id) return;
    this.id = null;
    $("detail").hidden = true;
    $("detail").parentElement.classList.remove("open");
    this.onClose();
  }

  // renew asks again, for there is more to tell when the stream has changed.
  async renew(now = Date.now()) {
    const id = this.id;
    if (!id) return;
    let s;
    try {
      const answer = await fetch(`/api/v1/streams/${encodeURIComponent(id)}`);
      s = await answer.json();
      if (!answer.ok) s = { lost: s.error };
    } catch {
      return; // the connection is gone, as the top of the page says
    }
    if (this.id !== id) return;
    if (s.lost && typeof s.lost === "string") {
      say($("detail-title"), s.lost);
      return;
    }
    s.now = new Date(now).toISOString();
    say($("detail-title"), `${s.method} ${s.path} — ${tone(s)[1]}`);
    facts.forEach(([, of], i) => say(this.cells[i], of(s)));
    this.#timeline(s);
  }

  #timeline(s) {
    const items = [];
    if (s.lost > 0) items.push(["", "", "", `${number(s.lost)} earlier moments are forgotten`, ""]);
    for (const m of s.timeline) {
      const [mark, kind, words] = moment(m);
      const more = m.times > 1 ? `, ${number(m.times)} times until ${since(Date.parse(m.last) - Date.parse(s.started))}` : "";
      items.push([since(Date.parse(m.at) - Date.parse(s.started)), mark, kind, words + more, m.at]);
    }
    const list = $("timeline");
    while (list.children.length > items.length) list.lastChild.remove();
    items.forEach(([when, mark, kind, words, at], i) => {
      let li = list.children[i];
      if (!li) {
        li = make("li", {}, make("time"), make("span", { class: "mark", "aria-hidden": "true" }), make("span"));
        list.append(li);
      }
      say(li.children[0], when);
      li.children[0].dateTime = at;
      li.children[0].title = at && clock(at);
      say(li.children[1], mark);
      li.children[1].className = `mark ${kind}`;
      say(li.children[2], words);
      li.children[2].className = `text ${kind}`;
    });
  }
}
