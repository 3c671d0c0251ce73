import { defineConfig } from "vite";

export default defineConfig({
  build: {
    outDir: "../gateway/server/static",
    emptyOutDir: true,
    // The page is served with `default-src 'self'`, which refuses data: URLs.
    assetsInlineLimit: 0,
    rollupOptions: { input: ["index.html", "sandbox-tab.html"] },
  },
  server: {
    // `npm run dev` beside a running gateway.
    proxy: { "/ws": { target: "http://127.0.0.1:8080", ws: true }, "/v1": "http://127.0.0.1:8080" },
  },
});
