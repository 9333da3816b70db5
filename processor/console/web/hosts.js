// Upstream hosts, those in trouble first.
import { $, make, say } from "./dom.js";
import { hostTones, number, span } from "./format.js";

const most = 8; // rows; a fleet is looked at in metrics

// find is called with the address of a host that somebody wants to see the streams of.
export function showHosts(targets, now, find) {
  $("hosts").hidden = targets.length === 0;
  const rank = { open: 0, half_open: 1, closed: 2 };
  const sorted = [...targets].sort((a, b) => rank[a.state] - rank[b.state] || b.failures_in_a_row - a.failures_in_a_row || (a.address < b.address ? -1 : 1));
  const ill = targets.filter((t) => t.state !== "closed").length;
  say($("hosts-count"), `${number(targets.length - ill)} in use${ill ? `, ${number(ill)} not` : ""}${targets.length > most ? `; ${most} shown` : ""}`);
  const rows = $("hosts-rows");
  while (rows.children.length > Math.min(sorted.length, most)) rows.lastChild.remove();
  sorted.slice(0, most).forEach((t, i) => {
    let tr = rows.children[i];
    if (!tr) {
      const host = make("button", { type: "button", class: "host", title: "Show its streams", onclick: () => find(host.textContent) });
      tr = make("tr", {}, make("td", {}, make("span")), make("td", {}, host), ...["", "", "n", "", "n", "n", "n"].map((c) => make("td", { class: c })));
      rows.append(tr);
    }
    const [kind, words] = hostTones[t.state] || ["", t.state];
    const pill = tr.children[0].firstChild;
    pill.className = `pill ${kind}`;
    const ms = t.state === "open" && t.until ? Date.parse(t.until) - now : 0;
    const left = ms > 0 ? `, ${span(ms)} left` : "";
    const cells = [words + left, t.address, t.cluster || "–", t.policy, t.failures_in_a_row ? number(t.failures_in_a_row) : "", t.last_failure || "", number(t.successes), number(t.failures), `${span(now - Date.parse(t.seen))} ago`];
    say(pill, cells[0]);
    say(tr.children[1].firstChild, cells[1]);
    for (let c = 2; c < cells.length; c++) say(tr.children[c], cells[c]);
  });
}
