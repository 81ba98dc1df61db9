// What the network answers, and how far its training has come.

function logitsNow() { return state.outs[state.outs.length - 1]; }

function answerText() {
  if (state.image.every((v) => v === 0)) return t("answer_blank");
  const shares = softmax(logitsNow()), best = argmax(shares);
  const key = shares[best] < 0.5 ? "answer_unsure" : "answer";
  const label = state.label === null ? "" : ` ${t("truth", { name: className(state.label) })}`;
  return t(key, { name: className(best) }) + label;
}

const BARS = 10; // the most that are shown

function drawBars() {
  const shares = softmax(logitsNow()), best = argmax(shares);
  const order = shares.map((_, k) => k).sort((a, b) => shares[b] - shares[a]);
  const chosen = shares.length > BARS ? order.slice(0, BARS) : shares.map((_, k) => k);
  $("bars").replaceChildren(h("div", { role: "list", "aria-label": t("bars_label") }, chosen.map((k) => {
    const bar = h("i");
    bar.style.width = `${100 * shares[k]}%`;
    return h("div", { class: k === best ? "bar best" : "bar", role: "listitem" },
      h("b", { text: className(k) }), h("div", {}, bar), h("span", { text: percent(shares[k]) }));
  })));
  const text = answerText();
  if ($("answer").textContent !== text) $("answer").textContent = text;
  $("small-answer").textContent = text;
}

let playing = 0;
function stopPlaying() { clearInterval(playing); playing = 0; }

function momentText() {
  const snapshot = net.snapshots[state.moment];
  const right = snapshot.accuracy === undefined ? null : percent(snapshot.accuracy);
  const key = (snapshot.step === 0 ? "moment_untrained" : "moment") + (right === null
    ? (snapshot.step === 0 ? "_plain" : "_said_plain") : "_said");
  return t(key, { step: whole(snapshot.step), right });
}

// The slider, at the head of the page and once more beside the maps.
function buildMoment() {
  const last = net.snapshots.length - 1;
  if (last === 0) { $("moment").hidden = true; return; }
  const text = h("p", { id: "moment-text", role: "status" }), play = h("button", { type: "button", id: "play" });
  const begin = h("span"), end = h("span"), label = h("b"), short_ = h("p", { class: "note" });
  const numbers = h("div"), box = h("details", {}, h("summary"), numbers);
  const ranges = ["training", "training-too"].map((id) => h("input", { type: "range", min: 0, max: last, step: 1, id }));
  const show = () => {
    for (const range of ranges) {
      range.value = state.moment;
      range.setAttribute("aria-valuetext", momentText());
      range.setAttribute("aria-label", t("moment"));
    }
    text.textContent = momentText();
    play.textContent = t(playing ? "pause" : "play");
    begin.textContent = t("moment_untrained");
    end.textContent = t("moment_trained");
    label.textContent = t("moment");
    short_.textContent = t("training_short");
    box.firstChild.textContent = t("snapshots");
    numbers.replaceChildren(table("", [t("m_step"), ...(net.snapshots[0].accuracy === undefined ? [] : [t("m_right")])],
      net.snapshots.map((each) => [whole(each.step), ...(each.accuracy === undefined ? [] : [percent(each.accuracy)])]), [0, 1]));
  };
  for (const range of ranges) range.addEventListener("input", () => { stopPlaying(); state.moment = Number(range.value); show(); soon(); });
  play.addEventListener("click", () => {
    if (playing) { stopPlaying(); show(); return; }
    state.moment = 0;
    playing = setInterval(() => {
      if (state.moment === last) stopPlaying(); else state.moment++;
      show();
      soon();
    }, 900);
    show();
    soon();
  });
  $("moment").append(h("p", {}, label), ranges[0], h("div", { class: "ticks", "aria-hidden": "true" }, begin, end),
    text, h("div", { class: "row" }, play), box);
  $("mini-tools").parentElement.append(h("div", { class: "hide-print" }, short_, ranges[1]));
  shown(show);
}

// Switches, and the measurement of what they do.

const measured = [];

function switchNames() {
  const ops = net.layers.map((layer) => layer.op);
  return [["shuffle", ORDER !== null], ["act", net.layers.some(isAct)],
    ["shortcut", ops.includes("add")], ["stride", ops.some((op) => /^(max|mean)pool$/.test(op))]]
    .filter(([, there]) => there).map(([name]) => name);
}

function buildSwitches() {
  shown(() => {
    $("switch-list").replaceChildren(...switchNames().map((name) => {
      const own = DATA.variants?.[name];
      const box = h("input", { type: "checkbox", id: `switch-${name}`, "aria-describedby": `switch-${name}-text` });
      box.checked = state.change[name];
      box.addEventListener("change", () => { state.change[name] = box.checked; soon(); });
      const parts = [h("label", {}, box, h("span", { text: t(`s_${name}`) })),
        h("p", { id: `switch-${name}-text`, text: t(`s_${name}_text`) })];
      if (own) {
        const other = h("input", { type: "checkbox", id: `trained-${name}` });
        other.checked = state.trained[name];
        other.addEventListener("change", () => { state.trained[name] = other.checked; soon(); });
        parts.push(h("p", {}, h("label", {}, other, h("span", { text: t("s_trained") }))));
      }
      return h("div", { class: "panel" }, parts);
    }));
    if (!TESTS) { $("measure").hidden = true; return; }
    $("measure").textContent = t("measure", { n: TESTS.n });
    drawMeasured();
  });
  $("measure").addEventListener("click", measure);
}

function changeText(row) {
  if (!row.on.length) return t("m_none");
  return row.on.map((name) => row.own === name ? t("m_trained", { name: t(`s_${name}`) }) : t(`s_${name}`)).join(t("joined"));
}

function drawMeasured() {
  $("measured").replaceChildren(...(measured.length ? [table(t("m_caption"),
    [t("m_step"), t("m_change"), t("m_right")],
    measured.map((row) => [whole(row.step), changeText(row), `${row.right} / ${row.n} (${percent(row.right / row.n)})`]),
    [0, 2])] : []));
}

function measure() {
  const now = current(), own = variant(), n = TESTS.n;
  const on = Object.keys(state.change).filter((name) => state.change[name]);
  const step = own ? own.step : net.snapshots[state.moment].step;
  let done = 0, right = 0;
  $("measure").disabled = true;
  const go = () => {
    const until = performance.now() + 40;
    while (done < n && performance.now() < until) {
      const outs = forward(now.net, now.weights, now.input(TESTS.image(done)), now.change);
      right += argmax(outs[outs.length - 1]) === TESTS.labels[done];
      done++;
    }
    $("measuring").textContent = done < n ? t("measuring", { done, n }) : "";
    if (done < n) { setTimeout(go, 0); return; }
    measured.push({ step, on, own: own?.name, right, n });
    $("measure").disabled = false;
    drawMeasured();
  };
  go();
}
