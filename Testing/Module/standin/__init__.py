"""What a scripted module of 3D Slicer finds around it, without the application: PySide6 that behaves as PythonQt.

`Application` puts it all in place: `qt`, `ctk`, the qMRML widgets, `slicer.app`, `slicer.modules`,
`slicer.mrmlScene`, `slicer.ScriptedLoadableModule`, `slicer.parameterNodeWrapper` and `slicer.i18n`.
MRML is the real one.
"""
