# SPDX-License-Identifier: BSD-3-Clause
"""Summaries of samples, the printed table, and the description of the machine."""

import os
import platform
import statistics
import subprocess


def result(name, unit, samples):
    """One row of a scenario's results, with quartiles."""
    q = statistics.quantiles(samples, n=4, method="inclusive")
    return {"name": name, "unit": unit, "samples": samples, "q1": round(q[0], 3), "q3": round(q[2], 3)}


def summary(row):
    """{name, unit, samples} -> {name, unit, median, min, max, n}; further keys of the row are kept."""
    samples = row["samples"]
    rest = {k: v for k, v in row.items() if k not in ("name", "unit", "samples")}
    return {"name": row["name"], "unit": row["unit"], "median": round(statistics.median(samples), 3),
            "min": round(min(samples), 3), "max": round(max(samples), 3), "n": len(samples), **rest}


def table(scenario, results):
    rows = [("result", "median", "min", "max", "n", "unit")]
    rows += [(r["name"], f"{r['median']:g}", f"{r['min']:g}", f"{r['max']:g}", str(r["n"]), r["unit"]) for r in results]
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    lines = [scenario]
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [row[i].rjust(widths[i]) for i in range(1, 5)] + [row[5]]
        lines.append("  " + "  ".join(cells))
    return "\n".join(lines)


def machine():
    """The properties of the machine that figures depend on."""
    return {"cpu": cpu_model(), "cpus": os.cpu_count(), "kernel": platform.release(),
            "dpdk": output(["pkg-config", "--modversion", "libdpdk"]), "compiler": output(["c++", "-dumpfullversion"]),
            "load": round(os.getloadavg()[0], 2)}


def cpu_model():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def output(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
