/**
 * Rules of `deno lint` for this project: no function of more than 80 lines, no file of more than 350. Where one must be
 * longer, a comment `// deno-lint-ignore size/function-lines -- why` says so above it.
 *
 * @module
 */

const most = { function: 80, file: 350 };

type Func = Deno.lint.FunctionDeclaration | Deno.lint.FunctionExpression | Deno.lint.ArrowFunctionExpression;

/** From the line of the first character to that of the last. */
function linesOf(context: Deno.lint.RuleContext, [from, to]: Deno.lint.Range): number {
  return context.sourceCode.text.slice(from, to).split("\n").length;
}

/** Tests and the bodies of tests may be as long as what they tell. */
const isTest = (context: Deno.lint.RuleContext) => context.filename.endsWith("_test.ts");

export default {
  name: "size",
  rules: {
    "function-lines": {
      create(context) {
        if (isTest(context)) return {};
        const check = (node: Func) => {
          const lines = linesOf(context, node.range);
          if (lines <= most.function) return;
          context.report({
            node,
            message: `a function of ${lines} lines, more than ${most.function}`,
            hint: "Give its parts names of their own.",
          });
        };
        return { FunctionDeclaration: check, FunctionExpression: check, ArrowFunctionExpression: check };
      },
    },
    "file-lines": {
      create(context) {
        if (isTest(context)) return {};
        return {
          Program(node) {
            const lines = context.sourceCode.text.trimEnd().split("\n").length;
            if (lines <= most.file) return;
            context.report({
              node,
              message: `a file of ${lines} lines, more than ${most.file}`,
              hint: "Put what belongs together into a file of its own.",
            });
          },
        };
      },
    },
  },
} satisfies Deno.lint.Plugin;
