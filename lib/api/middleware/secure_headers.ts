/**
 * What a browser may do with an answer: a document loads scripts and styles from here alone, none that are written into it,
 * and is framed by nobody; anything else loads nothing.
 *
 * @module
 */

import { secureHeaders as honoSecureHeaders } from "hono/secure-headers";
import type { ApiMiddleware } from "../env.ts";
import { afterwards } from "./afterwards.ts";

const nothing = { defaultSrc: ["'none'"], frameAncestors: ["'none'"] };
const document = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'", "data:"],
  fontSrc: ["'self'"],
  connectSrc: ["'self'"],
  manifestSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
};

/** @param isOwn no other origin may use what is answered */
export function secureHeaders(isOwn: boolean): ApiMiddleware {
  const headers = (contentSecurityPolicy: typeof nothing) =>
    honoSecureHeaders({
      contentSecurityPolicy,
      crossOriginResourcePolicy: isOwn,
      referrerPolicy: "no-referrer",
      xContentTypeOptions: true,
      xFrameOptions: "DENY",
      // The proxy in front that speaks TLS says this one; browsers only complain of the next without TLS, and the others
      // are those of browsers that are gone.
      strictTransportSecurity: false,
      crossOriginOpenerPolicy: false,
      originAgentCluster: false,
      xDnsPrefetchControl: false,
      xDownloadOptions: false,
      xPermittedCrossDomainPolicies: false,
      xXssProtection: false,
    });
  const [ofDocument, ofData] = [headers(document), headers(nothing)];
  return afterwards(({ res }) =>
    res.headers.get("content-type")?.startsWith("text/html") ? ofDocument : ofData
  );
}
