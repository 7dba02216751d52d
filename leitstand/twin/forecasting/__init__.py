# SPDX-License-Identifier: Apache-2.0
"""When waiting jobs will start: futures drawn from the past, played by the core itself, held against what came."""
