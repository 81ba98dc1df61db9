// The expectations of the lesson: the reader decides first, then sees what was measured.

const guesses = new Map(); // key of an expectation -> true or false

function sectionsOf() {
  return Object.values(DATA.findings?.sections ?? {}).sort((a, b) => a.number - b.number);
}

// The values of the seeds as dots on one line for each label.
function dots(each) {
  const rows = each.values ?? [], finite = rows.flatMap((row) => row.seeds.flat(9)).filter(Number.isFinite);
  if (!finite.length) return null;
  const low = Math.min(...finite), high = Math.max(...finite), room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  const x = (v) => 20 + 380 * (v - low + room) / (high - low + 2 * room), line = 46;
  const size = Math.max(Math.abs(low), Math.abs(high)); // close together they need more digits to differ
  const digits = Math.min(4, Math.max(2, 1 - Math.floor(Math.log10(high - low || 1))));
  const end = (v) => size > 0 && size < 1e-2 ? v.toExponential(1).replace("-", "−") : short(v, digits);
  const title = t("g_seeds"), unit = each.unit ? ` ${said(each.unit)}` : "";
  const drawing = svg("svg", { class: "dots", viewBox: `0 0 420 ${rows.length * line + 22}`, role: "img", "aria-label": title },
    rows.flatMap((row, i) => [
      svg("text", { x: 20, y: i * line + 15, text: said(row.label) }),
      svg("line", { x1: 20, x2: 400, y1: i * line + 30, y2: i * line + 30 }),
      ...row.seeds.flat(9).filter(Number.isFinite).map((v) => svg("circle", { cx: x(v), cy: i * line + 30, r: 5.5 }))]),
    svg("text", { class: "soft", x: x(low), y: rows.length * line + 14, text: end(low) + unit, "text-anchor": "start" }),
    high > low ? svg("text", { class: "soft", x: x(high), y: rows.length * line + 14, text: end(high) + unit, "text-anchor": "end" }) : []);
  const numbers = table("", [t("g_what"), t("g_each")], rows.map((row) => [said(row.label), row.seeds.flat(9).map((v) => v === null ? "–" : end(v)).join("; ") + unit]));
  return [drawing, h("details", {}, h("summary", { text: title }), numbers)];
}

function answerOf(each) {
  const held = t(each.holds ? "g_did" : "g_did_not");
  return [h("p", { text: t("g_measured", { v: said(each.measured), held }) }), ...(dots(each) ?? []),
    !each.holds && each.why_not ? h("p", { class: "why", text: plain(said(each.why_not), t("g_why", { v: "{v}" })) }) : null];
}

// Texts of the lesson link terms as [[term|label]]; here the label is enough.
function plain(text, around = "{v}") {
  const bare = text.replace(/\[\[([^\]|]*\|)?([^\]]*)\]\]/g, "$2").replace(/`([^`]*)`/g, "$1");
  return around.replace("{v}", () => bare);
}

function buildGuess() {
  const sections = sectionsOf(), all = sections.flatMap((section) => section.expectations.map((each) => ({ key: `${section.name}/${each.name}`, each })));
  const chosen = new Map(); // before it is committed
  const score = h("p", { class: "score", role: "status", "aria-live": "polite", id: "score" });
  const showScore = () => {
    const done = all.filter(({ key }) => guesses.has(key)), left = all.length - done.length;
    score.textContent = done.length ? t("g_score", { right: done.filter(({ key, each }) => guesses.get(key) === each.holds).length, done: done.length,
      held: done.filter(({ each }) => each.holds).length, left }) : t("g_score_none", { left });
  };
  const draw = () => {
    const body = $("guess-body");
    if (!all.length) {
      body.replaceChildren(h("p", { text: t("guess_none") }), h("pre", {}, h("code", { text: "python -m experiments.concepts --all --quick\npython -m experiments.concepts.touch" })));
      $("answers").hidden = true;
      return;
    }
    let group = 0;
    const open = new Set([...body.querySelectorAll("details.part[open]")].map((part) => part.dataset.name));
    body.replaceChildren(h("p", { text: t("guess_text") }), ...sections.map((section, n) => {
      const part = h("details", { class: "part", "data-name": section.name, open: open.size ? open.has(section.name) : n === 0 },
        h("summary", {}, h("b", { text: `${section.number}. ${plain(said(section.title))}` })), h("p", { text: plain(said(section.guess)) }),
        section.expectations.map((each) => ask(section, each, group++)));
      return part;
    }), score);
    $("answers-body").replaceChildren(...sections.flatMap((section) => [h("h3", { text: plain(said(section.title)) }),
      ...section.expectations.map((each) => h("div", {}, h("p", {}, h("b", { text: plain(said(each.claim)) })), answerOf(each)))]));
    showScore();
  };
  const ask = (section, each, number) => {
    const key = `${section.name}/${each.name}`, after = h("div", { class: "revealed", "aria-live": "polite" });
    const radios = [["g_holds", true], ["g_fails", false]].map(([word, value]) => {
      const radio = h("input", { type: "radio", name: `guess-${number}`, disabled: guesses.has(key) });
      radio.checked = (guesses.get(key) ?? chosen.get(key)) === value;
      radio.addEventListener("change", () => chosen.set(key, value));
      return h("label", {}, radio, h("span", { text: t(word) }));
    });
    const reveal = () => {
      const right = guesses.get(key) === each.holds;
      after.replaceChildren(h("p", { class: `verdict ${right ? "right" : "wrong"}`, text: t(right ? "g_right" : "g_wrong") }), ...answerOf(each).filter(Boolean));
    };
    const commit = h("button", { type: "button", text: t("g_commit"), class: "commit", hidden: guesses.has(key), onclick: () => {
      if (!chosen.has(key)) { after.replaceChildren(h("p", { text: t("g_first") })); return; }
      guesses.set(key, chosen.get(key));
      radios.forEach((label) => { label.firstChild.disabled = true; });
      commit.hidden = true;
      reveal();
      showScore();
    } });
    if (guesses.has(key)) reveal();
    return h("fieldset", {}, h("legend", { text: plain(said(each.claim)) }),
      h("p", { class: "note", text: t("g_expected", { v: plain(said(each.expected)) }) }),
      h("div", { class: "choices" }, radios, commit), after);
  };
  shown(draw);
}
