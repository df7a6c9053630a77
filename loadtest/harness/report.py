"""The Markdown report: one table per scenario, and what must be known before its numbers are believed."""

import statistics

from . import scenarios

LEAST_CORE_SHARE = 0.90
"""Below this share of its core a proxy was not the bottleneck: its requests/s are not its own."""

MOST_FOREIGN_SHARE = 0.05
"""Above this much of one core in other processes the machine was not quiet."""


def write(run):
    """The whole report of one run as Markdown."""
    parts = ["# Load test", "", *_describe_run(run), ""]
    for scenario in scenarios.LOADS:
        if scenario.name in run["summary"]:
            parts += _write_load(run, scenario)
    if run["idle_summary"]:
        parts += _write_idle(run, "idle_summary", "idle: memory per idle keep-alive connection after one request with 12 headers", "connection")
    if run["ws_idle_summary"]:
        parts += _write_idle(run, "ws_idle_summary", "ws-idle: memory per WebSocket at rest after one message", "socket")
    if run["tls_idle_summary"]:
        parts += _write_idle(run, "tls_idle_summary", "tls-idle: the same over TLS 1.3", "connection")
    if run["floods"]:
        parts += _write_floods(run)
    notes = list_cautions(run)
    parts += ["## Cautions", "", *(f"- {note}" for note in notes), ""] if notes else ["No cautions.", ""]
    return "\n".join(parts)


def _describe_run(run):
    machine, plan = run["machine"], run["plan"]
    yield f"{run['began']} · {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, load average {machine['load'][0]:.1f} at the start"
    yield ""
    yield (
        f"{run['rounds_done']} rounds (of {plan['rounds']}), {plan['seconds']} s each, {plan['connections']} keep-alive connections; "
        f"the proxy on core {plan['proxy_core']}, the load and the upstream on core {plan['load_core']}. "
        "CPU is that of the whole process tree; ratios are medians over rounds of the ratio inside one round, quartiles in brackets."
    )
    yield ""
    for name, version in run["versions"].items():
        yield f"- {name}: {version}"


def _write_load(run, scenario):
    proxies = run["summary"][scenario.name]
    references = [name for name in run["references"] if name in proxies]
    each = {"request": "req", "message": "message"}[scenario.unit]
    heads = ["proxy", f"CPU us/{each}", "user + system", *(f"CPU / {name}" for name in references), f"{scenario.unit}s/s", "p50 ms", "p99 ms", "p99.9 ms"]
    heads += ["errors", "RSS / PSS MiB", f"syscalls/{each}", "core used"]
    rows = []
    for name in run["order"]:
        if name not in proxies:
            continue
        one = proxies[name]
        calls = run["syscalls"].get(scenario.name, {}).get(name)
        rows.append(
            [
                name,
                f"{_median(one, 'cpu_us'):.1f} [{one['cpu_us']['q1']:.1f}–{one['cpu_us']['q3']:.1f}]" + ("*" if one["coarse"] else ""),
                f"{_median(one, 'user_us'):.1f} + {_median(one, 'system_us'):.1f}",
                *(_show_ratio(one["ratios"].get(reference, {}).get("cpu_us")) for reference in references),
                f"{_median(one, 'requests_per_s'):,.0f}",
                *(f"{_median(one, measure) / 1000:.2f}" for measure in ("p50_us", "p99_us", "p999_us")),
                str(one["errors"]),
                f"{_median(one, 'rss_bytes') / 2**20:.1f} / {_median(one, 'pss_bytes') / 2**20:.1f}",
                f"{calls['total']:.2f}" if calls else "–",
                f"{_median(one, 'proxy_core_share'):.0%}",
            ]
        )
    yield from (f"## {scenario.name}: {scenario.title}", "", *_lay_out(heads, rows), "")
    for name, calls in run["syscalls"].get(scenario.name, {}).items():
        yield f"- {name}: " + ", ".join(f"{call} {number:.2f}" for call, number in calls["by_name"].items())
    yield ""


def _write_idle(run, name, title, unit):
    summary = run[name]
    references = [name for name in run["references"] if name in summary]
    heads = ["proxy", f"PSS bytes/{unit}", f"RSS bytes/{unit}", *(f"PSS / {name}" for name in references), "PSS MiB at each step", "closed by proxy"]
    rows = []
    for name in run["order"]:
        if name in summary:
            one = summary[name]
            rows.append(
                [
                    name,
                    f"{_median(one, 'pss_per_connection'):,.0f}",
                    f"{_median(one, 'rss_per_connection'):,.0f}",
                    *(_show_ratio(one["ratios"].get(reference, {}).get("pss_per_connection")) for reference in references),
                    ", ".join(f"{reading['connections']:,}: {reading['pss'] / 2**20:.1f}" for reading in one["readings"]),
                    str(one["closed"]),
                ]
            )
    yield from (f"## {title}", "", *_lay_out(heads, rows), "")


def _write_floods(run):
    """Medians over rounds; each ratio is taken inside one round."""
    heads = ["proxy", "flood", "p99 ms", "p99 / quiet", "requests", "errors", "memory grown MiB", "attackers cut", "MiB sent"]
    rows = []
    for proxy in run["order"]:
        rounds = [one["found"] for one in run["floods"] if one["proxy"] == proxy]
        for name in rounds[0] if rounds else ():
            here = [found[name] for found in rounds]

            def middle(key, of=here):
                return statistics.median(one.get(key, 0) for one in of)

            ratio = statistics.median(found[name]["p99_us"] / max(1, found["quiet"]["p99_us"]) for found in rounds)
            # A client that got no answer at all has no percentile, however good that looks.
            times = [f"{middle('p99_us') / 1000:.2f}", f"{ratio:.2f}"] if all(one["requests"] for one in here) else ["no answer", "–"]
            row = [proxy, name, *times, f"{middle('requests'):,.0f}", str(sum(one["errors"] for one in here))]
            if name == "quiet":
                row += ["–", "–", "–"]
            else:
                row += [f"{middle('grown_bytes') / 2**20:.1f}", f"{middle('cut'):,.0f}", f"{middle('sent_bytes') / 2**20:,.0f}"]
            rows.append(row)
    yield from ("## floods: a good client of 4 connections, alone and while 4 others flood HTTP/2", "", *_lay_out(heads, rows), "")


def list_cautions(run):
    """Sentences about what is wrong or doubtful in this run, worst first."""
    notes = []
    if run["stopped_by"]:
        notes.append(f"The run ended early: {run['stopped_by']}")
    cells = [(f"{name} {scenario}", one) for scenario, proxies in run["summary"].items() for name, one in proxies.items()]
    kinds = (
        ("Errors (their kinds are in data.json)", lambda one: one["errors"], str),
        (
            "Did not use up its core, so the load, the upstream or another process set the pace: requests/s and latencies are not its own, "
            "and its CPU per request is if anything too high (it wakes more often for less)",
            lambda one: (_median(one, "proxy_core_share") < LEAST_CORE_SHARE) * _median(one, "proxy_core_share"),
            "{:.0%}".format,
        ),
        (
            "Other processes took this much of a core meanwhile",
            lambda one: (_median(one, "foreign_share") > MOST_FOREIGN_SHARE) * _median(one, "foreign_share"),
            "{:.0%}".format,
        ),
        ("Threads ended during a measurement: CPU marked * is counted in 10 ms ticks", lambda one: one["coarse"], lambda _: "*"),
    )
    for what, doubt, show in kinds:
        if found := [f"{cell} {show(doubt(one))}" for cell, one in cells if doubt(one)]:
            notes.append(f"{what}: {', '.join(found)}.")
    for name, unit in (("idle_summary", "idle connections"), ("ws_idle_summary", "WebSockets at rest"), ("tls_idle_summary", "idle TLS connections")):
        notes += [f"{proxy}: {one['closed']} {unit} were closed by it." for proxy, one in run[name].items() if one["closed"]]
    return notes + run["warnings"]


def _median(one, measure):
    return one[measure]["median"]


def _show_ratio(ratio):
    return f"**{ratio['median']:.2f}** [{ratio['q1']:.2f}–{ratio['q3']:.2f}]" if ratio else "–"


def _lay_out(heads, rows):
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]

    def line(cells):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(heads), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *(line(row) for row in rows)]
