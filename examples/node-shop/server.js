// GET / counts the orders; /healthz is the same question. On SIGTERM it drains: readiness off, then no new connections.
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import pg from "pg";

const version = process.env.SHOP_VERSION ?? "unknown";
const drainSeconds = Number(process.env.DRAIN_SECONDS ?? 5);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 4, connectionTimeoutMillis: 3000 });
pool.on("error", (error) => console.error(error.message)); // an idle connection was lost: the next request opens another
let draining = false;

const server = createServer(async (request, response) => {
  const answer = (status, content) => {
    response.writeHead(status, { "Content-Type": "application/json", ...(draining && { Connection: "close" }) });
    response.end(`${JSON.stringify({ version, ...content })}\n`);
  };
  if (draining && request.url === "/healthz") {
    answer(503, { ready: false, reason: "draining" });
    return;
  }
  try {
    const { rows } = await pool.query("SELECT count(*)::int AS orders FROM node_orders");
    answer(200, rows[0]);
  } catch (error) {
    answer(request.url === "/healthz" ? 503 : 500, { error: error.message });
  }
});

async function leave() {
  if (draining) return;
  draining = true;
  await sleep(drainSeconds * 1000);
  server.close(() => pool.end());
  server.closeIdleConnections();
}

process.on("SIGTERM", leave);
process.on("SIGINT", leave);
server.listen(Number(process.env.PORT ?? 8080), () => console.log(`node-shop ${version} listens`));
