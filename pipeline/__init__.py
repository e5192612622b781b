"""The road from a folder of videos to a detector's numbers; every stage reads files and writes
files.

  dataset folders       cache/<dataset>/<key>/<video_id>/ (a Zarr group a video)    manifests/*.txt
        |                                   ^                                        |
  (0) sources -> (1) decode -> (2) faces -> (3) cache -> (4) bands -> (5) manifests  v
                                              (6) clips -> (7) train -> (8) evaluate
                                                   models/       (9) predict + report
                                    (6b) features of a frozen encoder -> (7), (8)
Left of the manifest nothing knows a model; right of it nothing opens a video, except predict, which
walks the whole road for one file through the same functions, and shortcuts, which asks files how
they were made. Imports point one way: commands ->
pipeline -> models.
"""
