"""Published figures for the benchmark datasets, to compare with measured ones.

A figure is listed if two independent public sources (neither a copy of the other's repository) were
opened and agree on it, to as many digits as both give; a single source that disagrees does not
outweigh them. If two sources agree on one figure and two on another, it is None.

What is missing, and why:

- MS-LapSRN: no model was found in two sources. One source has D5R5; another does not say which.
- IFC: found in one source only, for LapSRN on three datasets.
- 8x: two sources that agree were found for LapSRN and SRCNN only, and not on every dataset.
- LapSRN on Set14: two figures are in circulation at every scale, a tenth of a decibel apart (28.19
  and 28.09 dB at 4x). The authors' file gives 28.08 here.
- SRCNN on Set14: two figures are in circulation as well (32.42 and 32.45 dB at 2x).
- Manga109: only what two of the tables with this dataset agree on.

Bicubic's figures are those of the tables cited here, which may differ from the papers' in the last
digit. All figures are for luma, by the protocol of ``lapsr_cli.metrics.protocol``.
"""

from __future__ import annotations

from lapsr_cli.bench.results import Published

__all__ = ["published"]

_ASSL = "Zhang et al., Aligned Structured Sparsity Learning, NeurIPS 2021, table 2"
_HU = "Hu et al., doi:10.19734/j.issn.1001-3695.2020.03.0081, tables 2 to 4"
_ESRGAN = "Wang et al., ESRGAN, arXiv:1809.00219, table 2"
_DRRN = "github.com/tyshiwo/DRRN_CVPR17, README.md (its first versions)"
_MOREMNAS = "github.com/xiaomi-automl/MoreMNAS, README.md"
_SRTRANSGAN = "github.com/nbaghel777/SRTransGAN, README.md (January 2023)"
_CFSR = "github.com/Aitical/CFSR, README.md"
_DYRSRNET = "github.com/vpsg-research/DyRSRNet, README.md"
_NTIRE = "github.com/lexuszhi1990/ntire2018, README.md"
_REVIEW = "github.com/AVC2-UESTC/Holistic-Super-Resolution-Review, README.md"

_Row = tuple[str, str, int, float | None, float | None, tuple[str, ...]]

_ROWS: tuple[_Row, ...] = (
    # method, dataset, scale, PSNR in dB, SSIM, sources
    ("bicubic", "Set5", 2, 33.66, 0.9299, (_DRRN, _HU, _DYRSRNET)),
    ("bicubic", "Set5", 4, 28.42, 0.8104, (_DRRN, _HU, _ESRGAN, _DYRSRNET)),
    ("bicubic", "Set14", 2, 30.24, 0.8688, (_HU, _DYRSRNET)),
    ("bicubic", "Set14", 4, 26.00, 0.7027, (_HU, _ESRGAN, _DYRSRNET)),
    ("bicubic", "BSDS100", 2, 29.56, 0.8431, (_HU, _DYRSRNET)),
    ("bicubic", "BSDS100", 4, 25.96, 0.6675, (_HU, _ESRGAN, _DYRSRNET)),
    ("bicubic", "Urban100", 2, 26.88, 0.8403, (_HU, _DYRSRNET)),
    ("bicubic", "Urban100", 4, 23.14, 0.6577, (_HU, _ESRGAN, _DYRSRNET)),
    ("bicubic", "Manga109", 4, 24.89, 0.7866, (_ESRGAN, _DYRSRNET)),
    ("SRCNN", "Set5", 2, 36.66, 0.9542, (_DRRN, _ASSL, _HU, _MOREMNAS, _SRTRANSGAN)),
    ("SRCNN", "Set5", 4, 30.48, 0.8628, (_DRRN, _ASSL, _HU, _ESRGAN, _SRTRANSGAN)),
    ("SRCNN", "Set5", 8, 25.33, None, (_HU, _NTIRE)),
    ("SRCNN", "BSDS100", 2, 31.36, 0.8879, (_ASSL, _HU, _MOREMNAS, _DYRSRNET)),
    ("SRCNN", "BSDS100", 4, 26.90, 0.7101, (_ASSL, _HU, _ESRGAN, _DYRSRNET)),
    ("SRCNN", "BSDS100", 8, 24.13, None, (_HU, _NTIRE)),
    ("SRCNN", "Urban100", 2, 29.50, 0.8946, (_ASSL, _HU, _MOREMNAS, _DYRSRNET)),
    ("SRCNN", "Urban100", 4, 24.52, 0.7221, (_ASSL, _HU, _ESRGAN, _DYRSRNET)),
    ("SRCNN", "Manga109", 2, 35.60, 0.9663, (_ASSL, _DYRSRNET)),
    ("SRCNN", "Manga109", 4, 27.58, 0.8555, (_ASSL, _ESRGAN, _DYRSRNET)),
    ("VDSR", "Set5", 2, 37.53, 0.9587, (_DRRN, _ASSL, _MOREMNAS, _SRTRANSGAN)),
    ("VDSR", "Set5", 4, 31.35, 0.8838, (_DRRN, _ASSL, _CFSR, _SRTRANSGAN)),
    ("VDSR", "Set14", 2, 33.03, 0.9124, (_ASSL, _MOREMNAS, _SRTRANSGAN)),
    ("VDSR", "Set14", 4, 28.01, 0.7674, (_ASSL, _CFSR, _SRTRANSGAN)),
    ("VDSR", "BSDS100", 2, 31.90, 0.8960, (_ASSL, _HU, _MOREMNAS)),
    ("VDSR", "BSDS100", 4, 27.29, 0.7251, (_ASSL, _CFSR, _REVIEW)),
    ("VDSR", "Urban100", 2, 30.76, 0.9140, (_ASSL, _MOREMNAS, _SRTRANSGAN)),
    ("VDSR", "Urban100", 4, 25.18, 0.7524, (_ASSL, _CFSR, _REVIEW)),
    ("VDSR", "Manga109", 4, 28.83, 0.8870, (_ASSL, _CFSR)),
    ("DRCN", "Set5", 2, 37.63, 0.9588, (_DRRN, _ASSL, _SRTRANSGAN)),
    ("DRCN", "Set5", 4, 31.53, 0.8854, (_DRRN, _ASSL, _REVIEW)),
    ("DRCN", "Set14", 2, 33.04, 0.9118, (_ASSL, _SRTRANSGAN)),
    ("DRCN", "Set14", 4, 28.02, 0.7670, (_ASSL, _SRTRANSGAN, _REVIEW)),
    ("DRCN", "BSDS100", 2, 31.85, 0.8942, (_ASSL, _SRTRANSGAN)),
    ("DRCN", "BSDS100", 4, 27.23, 0.7233, (_ASSL, _SRTRANSGAN, _REVIEW)),
    ("DRCN", "Urban100", 2, 30.75, 0.9133, (_ASSL, _SRTRANSGAN)),
    ("DRCN", "Urban100", 4, 25.14, 0.7510, (_ASSL, _SRTRANSGAN, _REVIEW)),
    ("LapSRN", "Set5", 2, 37.52, 0.959, (_ASSL, _HU, _SRTRANSGAN)),
    ("LapSRN", "Set5", 4, 31.54, 0.885, (_ASSL, _HU, _NTIRE, _CFSR, _REVIEW)),
    ("LapSRN", "Set5", 8, None, 0.738, (_HU, _NTIRE)),
    ("LapSRN", "BSDS100", 2, 31.80, 0.895, (_ASSL, _SRTRANSGAN)),
    ("LapSRN", "BSDS100", 4, 27.32, None, (_ASSL, _HU, _NTIRE, _CFSR, _REVIEW)),
    ("LapSRN", "BSDS100", 8, 24.54, 0.586, (_HU, _NTIRE)),
    ("LapSRN", "Urban100", 2, 30.41, 0.910, (_ASSL, _HU, _SRTRANSGAN)),
    ("LapSRN", "Urban100", 4, 25.21, 0.756, (_ASSL, _HU, _CFSR, _REVIEW)),
    ("LapSRN", "Manga109", 4, 29.09, 0.890, (_ASSL, _CFSR)),
    ("DRRN", "Set5", 2, 37.74, 0.9591, (_DRRN, _ASSL, _MOREMNAS, _SRTRANSGAN)),
    ("DRRN", "Set5", 4, 31.68, 0.8888, (_DRRN, _ASSL, _SRTRANSGAN, _REVIEW)),
    ("DRRN", "Set14", 2, 33.23, 0.9136, (_ASSL, _MOREMNAS, _SRTRANSGAN)),
    ("DRRN", "Set14", 4, 28.21, 0.7720, (_ASSL, _SRTRANSGAN, _REVIEW)),
    ("DRRN", "BSDS100", 2, 32.05, 0.8973, (_ASSL, _MOREMNAS, _SRTRANSGAN)),
    ("DRRN", "BSDS100", 4, 27.38, 0.7284, (_ASSL, _SRTRANSGAN, _REVIEW)),
    ("DRRN", "Urban100", 2, 31.23, 0.9188, (_ASSL, _MOREMNAS, _SRTRANSGAN)),
    ("DRRN", "Urban100", 4, 25.44, 0.7638, (_ASSL, _SRTRANSGAN, _REVIEW)),
)


def published(dataset: str, scale: int) -> tuple[Published, ...]:
    """The figures for a dataset at a scale, in order of publication; empty if there are none."""
    return tuple(
        Published(
            method=method,
            dataset=row_dataset,
            scale=row_scale,
            psnr=psnr,
            ssim=ssim,
            ifc=None,
            sources=sources,
        )
        for method, row_dataset, row_scale, psnr, ssim, sources in _ROWS
        if (row_dataset, row_scale) == (dataset, scale)
    )
