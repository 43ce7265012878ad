/**
 * What the API's middlewares and routes know of a request beside itself.
 *
 * @module
 */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context, MiddlewareHandler } from "hono";

/** Hono's environment. */
export interface ApiEnv {
  Bindings: {
    /** The client's address: past proxies that are trusted. */
    address: string;
  };
  Variables: {
    /** What the client's limits are counted by: its network, and where there are tokens, which one it has. */
    client: string;
  };
}

/** The app that routes are added to. */
export type Api = OpenAPIHono<ApiEnv>;
export type ApiContext = Context<ApiEnv>;
export type ApiMiddleware = MiddlewareHandler<ApiEnv>;

/** Why a request isn't looked at. */
export type AccessRefusal = "host" | "origin" | "rate" | "token";

/** Is told of a request that wasn't even looked at. */
export type OnRefused = (reason: AccessRefusal) => void;
