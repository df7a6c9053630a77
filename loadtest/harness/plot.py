"""The picture of a run as SVG, written by hand: CPU per request and its ratio to the first reference, one panel per scenario."""

from html import escape

from . import scenarios

WIDTH, MARGIN, NAME_WIDTH, ROW, HEAD = 1000, 24, 130, 26, 58
BAR_WIDTH, RATIO_LEFT = 400, 700
RATIO_WIDTH = WIDTH - MARGIN - RATIO_LEFT - 20
INK, FAINT, GRID, USER, SYSTEM, MARK = "#1f2933", "#616e7c", "#d9dee4", "#1b6ca8", "#a9cbe6", "#c2410c"


def write(run):
    """The whole picture as SVG text."""
    panels = [
        (f"{scenario.name}: {scenario.title}", _load_rows(run, scenario.name), scenario.unit) for scenario in scenarios.LOADS if scenario.name in run["summary"]
    ]
    reference = run["references"][0] if run["references"] else None
    body, top = [], 76
    for title, rows, unit in panels:
        body += _draw_panel(top, title, rows, f"CPU us per {unit}: user (dark), system (light)", reference and f"CPU / {reference}, quartiles", ".1f")
        top += HEAD + ROW * len(rows) + 18
    for summary, title, unit in (
        (run["idle_summary"], "idle: memory per idle keep-alive connection", "connection"),
        (run["ws_idle_summary"], "ws-idle: memory per WebSocket at rest", "socket"),
        (run["tls_idle_summary"], "tls-idle: memory per idle TLS connection", "connection"),
    ):
        if summary:
            rows = _idle_rows(run, summary)
            body += _draw_panel(top, title, rows, f"PSS bytes per {unit}", reference and f"PSS / {reference}", ",.0f")
            top += HEAD + ROW * len(rows) + 18
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>',
        _text(MARGIN, 34, "Load test: what one request or message costs", size=19, weight="600"),
        _text(MARGIN, 56, f"{run['began']} · {run['machine']['cpu']} · {run['rounds_done']} rounds · shorter is better", fill=FAINT),
    ]
    return "\n".join([*head, *body, "</svg>", ""])


def _load_rows(run, scenario):
    proxies = run["summary"][scenario]
    return [
        (name, _split(proxies[name]), _first_ratio(run, proxies[name], "cpu_us"))
        for name in run["order"]
        if name in proxies
    ]


def _split(one):
    """The median cost cut into user and system: their own medians need not add up to it."""
    cost, user, system = (one[measure]["median"] for measure in ("cpu_us", "user_us", "system_us"))
    user_part = cost * user / (user + system) if user + system else 0.0
    return [user_part, cost - user_part]


def _idle_rows(run, summary):
    return [
        (name, [max(0.0, summary[name]["pss_per_connection"]["median"])], _first_ratio(run, summary[name], "pss_per_connection"))
        for name in run["order"]
        if name in summary
    ]


def _first_ratio(run, one, measure):
    return one["ratios"].get(run["references"][0], {}).get(measure) if run["references"] else None


def _draw_panel(top, title, rows, bars_title, ratios_title, form):
    left = MARGIN + NAME_WIDTH
    longest = max(sum(parts) for _, parts, _ in rows) or 1.0
    furthest = max([1.0, *(ratio["q3"] for _, _, ratio in rows if ratio)]) * 1.08
    bottom = top + HEAD + ROW * len(rows)
    yield _text(MARGIN, top + 16, title, size=15, weight="600")
    yield _text(left, top + 40, bars_title, fill=FAINT, size=12)
    if ratios_title:
        one = RATIO_LEFT + RATIO_WIDTH / furthest
        yield _text(RATIO_LEFT, top + 40, ratios_title, fill=FAINT, size=12)
        yield f'<line x1="{RATIO_LEFT}" y1="{bottom}" x2="{RATIO_LEFT + RATIO_WIDTH}" y2="{bottom}" stroke="{GRID}"/>'
        yield f'<line x1="{one:.1f}" y1="{top + 46}" x2="{one:.1f}" y2="{bottom}" stroke="{GRID}" stroke-dasharray="4 3"/>'
        yield _text(one, bottom + 13, "1", fill=FAINT, size=11, anchor="middle")
        yield _text(RATIO_LEFT, bottom + 13, "0", fill=FAINT, size=11, anchor="middle")
    for number, (name, parts, ratio) in enumerate(rows):
        middle = top + HEAD + ROW * number + ROW / 2 - 4
        yield _text(left - 10, middle + 4.5, name, anchor="end")
        x = float(left)
        for part, fill in zip(parts, (USER, SYSTEM), strict=False):
            width = part / longest * BAR_WIDTH
            yield f'<rect x="{x:.1f}" y="{middle - 8:.1f}" width="{width:.1f}" height="16" fill="{fill}"/>'
            x += width
        yield _text(x + 8, middle + 4.5, format(sum(parts), form))
        if ratio:
            yield from _draw_ratio(middle, ratio, RATIO_WIDTH / furthest)


def _draw_ratio(middle, ratio, scale):
    low, centre, high = (RATIO_LEFT + ratio[key] * scale for key in ("q1", "median", "q3"))
    yield f'<line x1="{low:.1f}" y1="{middle:.1f}" x2="{high:.1f}" y2="{middle:.1f}" stroke="{MARK}" stroke-width="2"/>'
    yield f'<circle cx="{centre:.1f}" cy="{middle:.1f}" r="4.5" fill="{MARK}"/>'
    yield _text(low - 8, middle + 4.5, f"{ratio['median']:.2f}", anchor="end", size=12)


def _text(x, y, words, fill=INK, size=13, weight="400", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">{escape(words)}</text>'
