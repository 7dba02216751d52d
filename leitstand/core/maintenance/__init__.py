# SPDX-License-Identifier: Apache-2.0
"""Windows in which nodes are out of service: what they are, what they would meet, and deciding on them."""
