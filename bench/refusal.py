# SPDX-License-Identifier: BSD-3-Clause
"""What a scenario raises when it cannot run here."""


class Refusal(Exception):
    """One sentence: what is missing, and the remedy."""
