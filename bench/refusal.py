# SPDX-License-Identifier: BSD-3-Clause
"""The exception of a scenario that cannot run on this machine."""


class Refusal(Exception):
    """Its message is one sentence that names what is missing, and the remedy."""
