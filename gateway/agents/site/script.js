"use strict";
// Marks, in the navigation, the section that is being read.
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const watcher = new IntersectionObserver(
  (seen) => {
    for (const { target, isIntersecting } of seen) links.get(target.id)?.classList.toggle("here", isIntersecting);
  },
  { rootMargin: "-20% 0px -60% 0px" },
);
for (const section of document.querySelectorAll("main section[id]")) watcher.observe(section);
