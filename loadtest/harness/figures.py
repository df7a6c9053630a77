"""From samples to figures: medians over rounds, and medians of the ratios inside each round."""

import statistics

MEASURES = (
    "cpu_us", "user_us", "system_us", "requests_per_s", "p50_us", "p99_us", "p999_us", "rss_bytes", "pss_bytes", "peak_bytes",
    "proxy_core_share", "load_us", "foreign_share",
)  # fmt: skip
RATIOS = ("cpu_us", "user_us", "requests_per_s", "p99_us")


def spread(values):
    """Median and quartiles of at least one number."""
    if len(values) == 1:
        return {"median": values[0], "q1": values[0], "q3": values[0], "count": 1}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3, "count": len(values)}


def summarise(samples, references):
    """`{scenario: {proxy: {measure: spread, "errors": n, "ratios": {reference: {measure: spread}}}}}` of a list of samples.

    A ratio is taken between two samples of one round, for the machine drifts from round to round; only then the median.
    """
    table = {}
    for sample in samples:
        table.setdefault(sample["scenario"], {}).setdefault(sample["proxy"], {})[sample["round"]] = sample
    return {
        scenario: {proxy: _summarise_one(rounds, {name: proxies[name] for name in references if name in proxies}) for proxy, rounds in proxies.items()}
        for scenario, proxies in table.items()
    }


def _summarise_one(rounds, references):
    summary = {measure: spread([sample[measure] for sample in rounds.values()]) for measure in MEASURES}
    summary["errors"] = sum(sample["error_count"] for sample in rounds.values())
    summary["coarse"] = any(sample["cpu_source"] != "schedstat" for sample in rounds.values())
    summary["ratios"] = {}
    for name, others in references.items():
        common = [number for number in rounds if number in others]
        if common:
            summary["ratios"][name] = {
                measure: spread([_divide(rounds[number][measure], others[number][measure]) for number in common]) for measure in RATIOS
            }
    return summary


def summarise_idle(runs, references):
    """`{proxy: {rss_per_connection: spread, pss_per_connection: spread, first, last, closed, ratios}}` of the idle measurements."""
    table = {}
    for run in runs:
        table.setdefault(run["proxy"], {})[run["round"]] = run
    summary = {}
    for proxy, rounds in table.items():
        last = rounds[max(rounds)]
        summary[proxy] = {
            "rss_per_connection": spread([run["rss_per_connection"] for run in rounds.values()]),
            "pss_per_connection": spread([run["pss_per_connection"] for run in rounds.values()]),
            "readings": last["readings"],
            "closed": sum(run["closed_by_proxy"] for run in rounds.values()),
            "ratios": {},
        }
        for name in references:
            common = [number for number in rounds if number in table.get(name, {})]
            if common:
                ratios = [_divide(rounds[number]["pss_per_connection"], table[name][number]["pss_per_connection"]) for number in common]
                summary[proxy]["ratios"][name] = {"pss_per_connection": spread(ratios)}
    return summary


def _divide(number, by):
    return number / by if by else float("nan")
