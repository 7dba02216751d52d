# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets: programs that feed mutated bytes to parsers until one of their promises breaks."""
