"""The style sheet of the report: white page, system fonts, nothing to download."""

CSS = """
:root{color-scheme:light;--ink:#1f2328;--muted:#59636e;--rule:#d8dee4;--wash:#f6f8fa;--accent:#0072b2}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:40px 28px 64px}
header{border-bottom:2px solid var(--ink);margin-bottom:20px}
.eyebrow{margin:0;color:var(--muted);font-size:.8rem;letter-spacing:.08em;text-transform:uppercase}
h1{margin:.1em 0 .45em;font-size:1.9rem;line-height:1.2;font-weight:650}
h2{margin:2.2em 0 .6em;font-size:1.25rem;font-weight:650}
h3{margin:1.9em 0 .6em;font-size:1.05rem;font-weight:650}
nav ul{padding-left:1.2em}
a{color:var(--accent)}
section section,section+section{border-top:1px solid var(--rule);margin-top:2.6em}
section+section>h2{margin-top:1.2em}
.task{margin:0 0 .6em;color:var(--muted)}
.lead{margin:0 0 1.2em;font-size:1.1rem;max-width:54em}
.rule{font-weight:650}
.verdicts{border-left:3px solid #d55e00;background:#fdf6f1;padding:.7em 1.1em .8em}
.verdicts :is(h2,h3){margin:0 0 .3em;font-size:1rem}
.verdicts ul{margin:0;padding-left:1.1em}
.scroll{overflow-x:auto;margin-bottom:1.4em}
table{border-collapse:collapse;font-size:.84rem;line-height:1.35;font-variant-numeric:tabular-nums}
caption span{display:block;max-width:min(60em,86vw)}
caption{caption-side:top;text-align:left;color:var(--muted);padding-bottom:.6em}
.results{width:100%;font-size:.81rem}
th,td{padding:.38em .5em;text-align:right;vertical-align:top}
th:first-child,td.text,th.text{text-align:left}
th:first-child,td:first-child{padding-left:.3em}
thead th{color:var(--muted);font-weight:600;vertical-align:bottom;border-bottom:1.5px solid var(--ink)}
tbody th{font-weight:600;white-space:nowrap}
.results tr:not(.group,.target)>*{padding-bottom:.1em}
tbody td{white-space:nowrap}
td.text{white-space:normal}
.results td.text{white-space:nowrap}
.results .target td{padding:0 0 .5em calc(.3em + 19px);text-align:left;color:var(--muted);font-size:.78rem}
.results tbody+tbody{border-top:1px solid var(--rule)}
.results tbody:last-child{border-bottom:1.5px solid var(--ink)}
.results .group th{white-space:normal;padding-top:.8em;color:var(--muted);font-weight:500;font-style:italic}
.baseline{background:var(--wash)}
.baseline th{font-weight:500}
.bad{color:#b3400a;font-style:normal;font-weight:600}
th .swatch{margin:0 .45em -2px 0}
.confusion{margin-bottom:1.2em}
.settings{min-width:40%}
.settings th[scope=row]{font-weight:500}
.settings tr+tr,.settings tbody tr{border-top:1px solid var(--rule)}
.settings td{overflow-wrap:break-word;max-width:52em}
.chosen code{display:inline-block;margin:0 .35em .2em 0;
padding:0 .4em;background:var(--wash);border-radius:4px}
code,pre{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--wash);border:1px solid var(--rule);border-radius:6px;padding:.8em 1em;overflow-x:auto}
figure{margin:0 0 1.4em}
figcaption,.none{color:var(--muted);font-size:.86rem;max-width:60em}
.panels{display:grid;gap:14px 22px}
.three .panels{grid-template-columns:repeat(auto-fit,minmax(min(100%,286px),1fr))}
.two .panels{grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr))}
.panel svg{display:block;width:100%;height:auto}
.panel svg text{font-family:inherit!important}
.legend{display:flex;flex-wrap:wrap;gap:.25em 1.5em;margin:0 0 .7em;\
padding:0;list-style:none;font-size:.86rem}
.legend .swatch{margin:0 .5em -2px 0}
.plain{padding-left:1.2em}
.references li{margin:.35em 0}
.for{color:var(--muted);font-size:.84rem}
.for::before{content:"\\2190\\00a0"}
@media (max-width:1080px){.results{font-size:.75rem}.results :is(th,td){padding-left:.4em;padding-right:.4em}}
@media (max-width:640px){main{padding:24px 16px 48px}h1{font-size:1.5rem}.lead{font-size:1rem}}
@media print{main{max-width:none;padding:0}figure,tr{break-inside:avoid}}
"""
