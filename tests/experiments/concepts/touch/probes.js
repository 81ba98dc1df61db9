// What the tests ask of a page that is open.

// All texts that a reader or a screen reader meets, commands left out.
function texts() {
  const found = [], code = (e) => e.closest("code, script, style, [lang=en]:not(html)");
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    if (n.data.trim() && !code(n.parentElement)) found.push(n.data.trim());
  }
  for (const e of document.querySelectorAll("*")) {
    if (code(e)) continue;
    for (const name of ["aria-label", "aria-valuetext", "title", "alt", "placeholder"]) {
      if (e.hasAttribute(name)) found.push(e.getAttribute(name));
    }
  }
  return found;
}

// With everything opened: what is wider than the window, or than a box that would have to scroll.
function cut() {
  for (const e of document.querySelectorAll("details")) e.open = true;
  const drawn = ".pad, .scene, svg"; // their frames may reach over the edge
  const all = [...document.querySelectorAll("main *, header *, footer *")].filter((e) => !e.closest(drawn));
  const wide = all.filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 1 || box.left < -1);
  }).map((e) => `${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`);
  const scrolling = all.filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1
    && getComputedStyle(e).overflowX !== "visible").length;
  return { wide, scrolling, fits: document.documentElement.scrollWidth <= innerWidth };
}

// Texts whose colour and background differ by less than 4.5 (WCAG 2.2, 1.4.3).
function faint() {
  const numbers = (c) => c.match(/[\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const under = (e) => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [], silent = ["SCRIPT", "STYLE", "OPTION"];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    const e = n.parentElement;
    if (!n.data.trim() || !e.checkVisibility() || silent.includes(e.tagName)) continue;
    const style = getComputedStyle(e), colour = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(numbers(colour).slice(0, 3)), light(under(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className} ${n.data.trim().slice(0, 20)}`);
  }
  return found;
}
