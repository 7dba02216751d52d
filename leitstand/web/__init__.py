# SPDX-License-Identifier: Apache-2.0
"""The control room in the browser: plain pages that are clients of the API, as any other."""
