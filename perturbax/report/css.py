"""The style sheet of the report: system fonts, light or dark as the reader has it, nothing to download."""

COLOURS = {
    "page": ("#ffffff", "#14171b"),
    "ink": ("#1f2328", "#e6e9ec"),
    "muted": ("#59636e", "#a3adb8"),
    "rule": ("#d8dee4", "#363d45"),
    "wash": ("#f6f8fa", "#1d2228"),
    "accent": ("#0969a8", "#6cb6ff"),
    "warn": ("#d55e00", "#f0883e"),
    "warn-wash": ("#fdf6f1", "#2a211a"),
    "bad": ("#b3400a", "#ff9d6c"),
}
"""Colours of the page by name: on a light and on a dark screen."""


def _variables(which: int) -> str:
    """Return the colours as declarations: those of light (0) or dark (1) screens."""
    return ";".join(f"--{name}:{both[which]}" for name, both in COLOURS.items())


CSS = (
    f":root{{color-scheme:light;{_variables(0)}}}\n"
    # Figures are drawn for light paper: on a dark screen their lightness is turned around, their hues kept.
    f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{_variables(1)}}}"
    ".panel>svg,.swatch,.tip i{filter:invert(1) hue-rotate(180deg)}"
    ".panel>svg image{filter:invert(1) hue-rotate(180deg)}}"
    r"""
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1240px;margin:0 auto;padding:40px 28px 64px;overflow-wrap:break-word}
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
.rule{font-weight:650;overflow-wrap:anywhere}
.verdicts{border-left:3px solid var(--warn);background:var(--warn-wash);padding:.7em 1.1em .8em}
.verdicts :is(h2,h3){margin:0 0 .3em;font-size:1rem}
.verdicts ul{margin:0;padding-left:1.1em}
.scroll{overflow-x:auto;margin-bottom:1.4em}
:is(.scroll,.panel,summary,button,a):focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-size:.84rem;line-height:1.35;font-variant-numeric:tabular-nums}
caption span{display:block;max-width:min(60em,86vw)}
caption{caption-side:top;text-align:left;color:var(--muted);padding-bottom:.6em}
.results{width:100%;font-size:.81rem}
th,td{padding:.38em .75em;text-align:right;vertical-align:top}
.results :is(th,td){padding:.38em .5em}
th:first-child,td.text,th.text{text-align:left}
th:first-child,td:first-child{padding-left:.3em}
thead :is(th,td){color:var(--muted);font-weight:600;vertical-align:bottom;
border-bottom:1.5px solid var(--ink)}
tbody th{font-weight:600;max-width:24em}
.results tr:not(.group,.target)>*{padding-bottom:.1em}
tbody td{white-space:nowrap}
td.text{white-space:normal}
.results td.text{white-space:nowrap}
.results .target td{padding:0 0 .5em calc(.3em + 19px);text-align:left;color:var(--muted);font-size:.78rem;
white-space:normal}
.results tbody+tbody{border-top:1px solid var(--rule)}
.results tbody:last-child{border-bottom:1.5px solid var(--ink)}
.results .group th{max-width:none;padding-top:.8em;color:var(--muted);font-weight:500;font-style:italic}
.baseline{background:var(--wash)}
.baseline th{font-weight:500}
.bad{color:var(--bad);font-style:normal;font-weight:600}
.results tr:not(.group,.target)>th:first-child{padding-left:calc(.3em + 19px)}
th .swatch{margin:0 5px -2px -19px}
.confusion{margin-bottom:1.2em}
.settings{min-width:40%}
.settings th[scope=row]{font-weight:500}
.settings tr+tr,.settings tbody tr{border-top:1px solid var(--rule)}
.settings td{overflow-wrap:break-word;max-width:52em}
.settings :is(td,th).text{min-width:9em}
.chosen code{display:inline-block;margin:0 .35em .2em 0;
padding:0 .4em;background:var(--wash);border-radius:4px;overflow-wrap:anywhere}
code,pre{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--wash);border:1px solid var(--rule);border-radius:6px;padding:.8em 1em;
white-space:pre-wrap;overflow-wrap:anywhere}
figure{margin:0 0 1.4em}
figcaption,.none{color:var(--muted);font-size:.86rem;max-width:60em}
.panels{display:grid;gap:14px 22px}
.three .panels{grid-template-columns:repeat(auto-fit,minmax(min(100%,286px),1fr))}
.two .panels{grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr))}
.panel{position:relative}
.panel>svg{display:block;width:100%;height:auto}
.panel>svg text{font-family:inherit!important}
.named{margin:0 0 .2em;font-size:.82rem;font-weight:650;overflow-wrap:anywhere}
.narrow{display:none}
.keep>svg{min-width:680px}
.legend{display:flex;flex-wrap:wrap;gap:.25em 1.5em;margin:0 0 .7em;
padding:0;list-style:none;font-size:.86rem}
.legend li{overflow-wrap:anywhere}
.legend .swatch{margin:0 .5em -2px 0}
.legend button{font:inherit;color:inherit;background:none;border:1px solid transparent;border-radius:5px;
padding:.1em .4em;margin:0 -.4em;cursor:pointer;text-align:left}
.legend button:hover{border-color:var(--rule)}
.legend button[aria-pressed=false]{color:var(--muted);text-decoration:line-through}
.legend button[aria-pressed=false] .swatch{opacity:.35}
.cross{position:absolute;width:1px;background:var(--muted);pointer-events:none}
.tip{position:absolute;z-index:1;width:max-content;max-width:min(26em,92vw);padding:.4em .6em;
background:var(--page);border:1px solid var(--rule);border-radius:6px;box-shadow:0 2px 8px #0003;
font-size:.78rem;line-height:1.4;font-variant-numeric:tabular-nums;overflow-wrap:anywhere;pointer-events:none}
.tip i{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.5em}
.live{margin:-.3em 0 .6em;color:var(--muted);font-size:.86rem}
.live::before{content:"";display:inline-block;width:.6em;height:.6em;border-radius:50%;margin-right:.5em;
background:#2da44e}
.live.ended::before{background:var(--muted)}
.plain{padding-left:1.2em}
.references li{margin:.35em 0;overflow-wrap:anywhere}
.for{color:var(--muted);font-size:.84rem}
.for::before{content:"\2190\00a0"}
@media (max-width:1080px){.results{font-size:.75rem}.results :is(th,td){padding-left:.4em;padding-right:.4em}}
@media screen and (max-width:640px){main{padding:24px 16px 48px}h1{font-size:1.5rem}.lead{font-size:1rem}
.wide{display:none}.narrow{display:block}tbody th{max-width:11em}
.two .panel>svg text{font-size:11.5px!important}}
@media print{@page{size:A4 landscape;margin:12mm}html{font-size:11px}main{max-width:none;padding:0}
.scroll{overflow:visible}
.results :is(th,td){padding-left:.3em;padding-right:.3em}
tbody td,.results td.text{white-space:normal}caption span{max-width:none}thead{display:table-header-group}
figure,table,tr,.panel,.verdicts{break-inside:avoid}h1,h2,h3,caption,h2+.none{break-after:avoid}
.live,.cross,.tip{display:none}
.three .panels{grid-template-columns:repeat(3,1fr)}.two .panels{grid-template-columns:repeat(2,1fr)}}
"""
)
