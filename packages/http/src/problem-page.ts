// The page behind every problem's `type`: what each code means, whether to send the request again, whether money moved.
import { type ProblemCode, problems } from '@ballast/contracts';

const moneyMoved = {
  no: 'No. Nothing left for a bank.',
  see_order:
    'Perhaps: an earlier sending may have been taken. The order says: ask for it by its id or number, or send the payment again under its key, which never takes it twice.',
} as const;

export function problemPage(): string {
  const sections = (Object.keys(problems) as ProblemCode[]).map((code) => {
    const { status, title, retryable, moneyMoved: moved } = problems[code];
    return `<section id="${code}"><h2>${code} <small>${status}</small></h2><p>${title}.</p><dl>
<dt>May I send the same request again?</dt><dd>${retryable ? 'Yes, after Retry-After where it is given.' : 'Not as it is: it would be refused again.'}</dd>
<dt>Was money moved?</dt><dd>${moneyMoved[moved]}</dd></dl></section>`;
  });
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Ballast: problems</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
small{font-weight:400;opacity:.7}dt{font-weight:600}dd{margin:0 0 .5rem 0}section:target{outline:2px solid;padding:.5rem}</style>
<h1>Problems</h1><p>Every error is application/problem+json (RFC 9457). Codes are never reused or renamed.</p>
${sections.join('\n')}
</html>`;
}
