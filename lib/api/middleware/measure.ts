/**
 * How long answers take, by route.
 *
 * @module
 */

import type { Api, ApiMiddleware } from "../env.ts";

/** Is told of every answer. */
export type OnAnswer = (route: string, status: number, seconds: number) => void;

/** @param app whose routes are told apart; any other address is `page`, under `/api/` `other` */
export function measure(app: Api, onAnswer: OnAnswer): ApiMiddleware {
  let paths: ReadonlySet<string> | undefined;
  return async (context, next) => {
    const started = performance.now();
    await next();
    paths ??= new Set(app.routes.map(({ path }) => path).filter((path) => !path.includes("*")));
    const { path } = context.req;
    const route = paths.has(path) ? path : path.startsWith("/api/") ? "other" : "page";
    onAnswer(route, context.res.status, (performance.now() - started) / 1000);
  };
}
