/**
 * Styles that a library makes at run time, under a policy that allows no inline style.
 *
 * `style-src 'self'` refuses the text of a style element and a `style` attribute that is set as text. It lets a script of
 * the page construct a sheet, and set an element's style by its object model, which is what becomes of both here.
 */

/** A document like ours, whose new elements keep to the policy. */
export function documentWithinPolicy(): Document {
  return new Proxy(document, {
    get(target, key) {
      if (key === "createElement") return createElement;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
  });
}

/** Runs what makes elements by our document itself (xterm's viewport forgets which one it was given). */
export function withinPolicy(run: () => void): void {
  Object.defineProperty(document, "createElement", { configurable: true, value: createElement });
  try {
    run();
  } finally {
    // What the prototype has shows again.
    Reflect.deleteProperty(document, "createElement");
  }
}

function createElement(name: string): HTMLElement {
  if (name.toLowerCase() === "style") return styleStandIn();
  return Document.prototype.createElement.call(document, name);
}

/** From here on a `style` attribute that a script sets is set by the object model: rows are made by whichever document. */
export function styleByObjectModel(): void {
  HTMLElement.prototype.setAttribute = function setAttribute(name: string, value: string): void {
    if (name === "style") this.style.cssText = value;
    else Element.prototype.setAttribute.call(this, name, value);
  };
}

function styleStandIn(): HTMLElement {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  const element = Document.prototype.createElement.call(document, "span");
  element.hidden = true;
  Object.defineProperty(element, "textContent", { set: (css: string) => sheet.replaceSync(css) });
  Object.defineProperty(element, "remove", {
    value: () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
      Element.prototype.remove.call(element);
    },
  });
  return element;
}
