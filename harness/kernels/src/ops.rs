//! The kernels as in-place operations on candle tensors, to be used with [`candle_core::Tensor::inplace_op2`].
//!
//! They take contiguous f32 tensors on the CPU whose last dimension is a layer's width and whose other
//! dimensions are samples, and return an error for any other.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, bail};

use crate::{OutputActivation, Panel};

/// y from x: `y.inplace_op2(&x, &op)` is [`forward`](crate::forward()).
#[derive(Debug)]
pub struct Forward<'a> {
    /// The panel in its layer.
    pub panel: Panel,
    /// The panel's `[W | b]`.
    pub params: &'a [f32],
    /// The layer's activation.
    pub activation: OutputActivation,
}

impl InplaceOp2 for Forward<'_> {
    fn name(&self) -> &'static str {
        "panel-forward"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let name = InplaceOp2::name(self);
        check_parameters(name, &self.panel, self.params)?;
        let rows = check_rows(name, y_layout, self.panel.total_units, x_layout, self.panel.inputs)?;
        let (y, x) = (values_mut(name, y, y_layout)?, values(name, x, x_layout)?);
        crate::forward(&self.panel, self.params, x, y, rows, self.activation);
        Ok(())
    }
}

/// The error before the activation from the one after it, and the outputs: `dy.inplace_op2(&y, &op)` is
/// [`activation_backward`](crate::activation_backward()).
#[derive(Debug)]
pub struct ActivationBackward {
    /// The panel in its layer.
    pub panel: Panel,
    /// The layer's activation.
    pub activation: OutputActivation,
}

impl InplaceOp2 for ActivationBackward {
    fn name(&self) -> &'static str {
        "panel-activation-backward"
    }

    fn cpu_fwd(
        &self,
        dy: &mut CpuStorage,
        dy_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<()> {
        let name = InplaceOp2::name(self);
        check_panel(name, &self.panel)?;
        let rows = check_rows(name, dy_layout, self.panel.total_units, y_layout, self.panel.total_units)?;
        let (dy, y) = (values_mut(name, dy, dy_layout)?, values(name, y, y_layout)?);
        crate::activation_backward(&self.panel, y, dy, rows, self.activation);
        Ok(())
    }
}

/// dx from dz: `dx.inplace_op2(&dz, &op)` is [`input_error`](crate::input_error()).
#[derive(Debug)]
pub struct InputError<'a> {
    /// The panel in its layer.
    pub panel: Panel,
    /// The panel's `[W | b]`.
    pub params: &'a [f32],
    /// Add to `dx`, as every panel of a layer but the first does.
    pub accumulate: bool,
}

impl InplaceOp2 for InputError<'_> {
    fn name(&self) -> &'static str {
        "panel-input-error"
    }

    fn cpu_fwd(
        &self,
        dx: &mut CpuStorage,
        dx_layout: &Layout,
        dz: &CpuStorage,
        dz_layout: &Layout,
    ) -> Result<()> {
        let name = InplaceOp2::name(self);
        check_parameters(name, &self.panel, self.params)?;
        let rows = check_rows(name, dx_layout, self.panel.inputs, dz_layout, self.panel.total_units)?;
        let (dx, dz) = (values_mut(name, dx, dx_layout)?, values(name, dz, dz_layout)?);
        crate::input_error(&self.panel, self.params, dz, dx, rows, self.accumulate);
        Ok(())
    }
}

fn check_panel(name: &str, panel: &Panel) -> Result<()> {
    if !panel.is_inside_layer() {
        bail!("{name}: not a part of a layer: {panel:?}");
    }
    Ok(())
}

fn check_parameters(name: &str, panel: &Panel, params: &[f32]) -> Result<()> {
    check_panel(name, panel)?;
    if params.len() != panel.parameters() {
        bail!("{name}: {} parameters for {panel:?}, which has {}", params.len(), panel.parameters());
    }
    Ok(())
}

/// The number of samples, if both tensors have as many and the widths are those expected.
fn check_rows(name: &str, a: &Layout, a_width: usize, b: &Layout, b_width: usize) -> Result<usize> {
    let rows = |layout: &Layout, width: usize| match layout.dims() {
        [samples @ .., last] if *last == width => Ok(samples.iter().product::<usize>()),
        dims => bail!("{name}: shape {dims:?} where the last dimension must be {width}"),
    };
    let (a_rows, b_rows) = (rows(a, a_width)?, rows(b, b_width)?);
    if a_rows != b_rows {
        bail!("{name}: {a_rows} samples against {b_rows}");
    }
    Ok(a_rows)
}

fn values<'a>(name: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("{name}: a tensor is not contiguous"),
    }
}

fn values_mut<'a>(name: &str, storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        (CpuStorage::F32(_), None) => bail!("{name}: a tensor is not contiguous"),
        _ => bail!("{name}: a tensor is not f32"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::{ActivationBackward, Forward, InputError};
    use crate::check::numbers;
    use crate::{OutputActivation, Panel};

    const PANEL: Panel = Panel { total_units: 7, inputs: 5, first_unit: 2, units: 3 };
    const ROWS: usize = 4;

    fn tensor(values: Vec<f32>, shape: (usize, usize)) -> Result<Tensor> {
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
        tensor.flatten_all()?.to_vec1()
    }

    #[test]
    fn an_operation_on_tensors_is_the_function_on_their_values() -> Result<()> {
        let (params, x, y) = (numbers(PANEL.parameters(), 1), numbers(ROWS * 5, 2), numbers(ROWS * 7, 3));
        let activation = OutputActivation::Tanh;

        let (mut expected, y_tensor) = (y.clone(), tensor(y.clone(), (ROWS, 7))?);
        crate::forward(&PANEL, &params, &x, &mut expected, ROWS, activation);
        let forward = Forward { panel: PANEL, params: &params, activation };
        y_tensor.inplace_op2(&tensor(x.clone(), (ROWS, 5))?, &forward)?;
        assert_eq!(flat(&y_tensor)?, expected);

        let (mut expected, dy_tensor) = (y.clone(), tensor(y.clone(), (ROWS, 7))?);
        crate::activation_backward(&PANEL, &flat(&y_tensor)?, &mut expected, ROWS, activation);
        dy_tensor.inplace_op2(&y_tensor, &ActivationBackward { panel: PANEL, activation })?;
        assert_eq!(flat(&dy_tensor)?, expected);

        let (mut expected, dx_tensor) = (x.clone(), tensor(x, (ROWS, 5))?);
        crate::input_error(&PANEL, &params, &y, &mut expected, ROWS, true);
        let input_error = InputError { panel: PANEL, params: &params, accumulate: true };
        dx_tensor.inplace_op2(&tensor(y, (ROWS, 7))?, &input_error)?;
        assert_eq!(flat(&dx_tensor)?, expected);
        Ok(())
    }

    #[test]
    fn a_wrong_shape_type_layout_or_panel_is_an_error() -> Result<()> {
        let params = numbers(PANEL.parameters(), 1);
        let good = Forward { panel: PANEL, params: &params, activation: OutputActivation::Relu };
        let short = Forward { params: &params[1..], ..good };
        let outside = Forward { panel: Panel { first_unit: 5, ..PANEL }, ..good };
        let zeros = |shape: (usize, usize), dtype| Tensor::zeros(shape, dtype, &Device::Cpu);
        let (y, x) = (zeros((ROWS, 7), DType::F32)?, zeros((ROWS, 5), DType::F32)?);
        assert!(y.inplace_op2(&x, &good).is_ok());
        for (case, result) in [
            ("short parameters", y.inplace_op2(&x, &short)),
            ("panel outside the layer", y.inplace_op2(&x, &outside)),
            ("other samples", y.inplace_op2(&zeros((3, 5), DType::F32)?, &good)),
            ("other width", y.inplace_op2(&zeros((ROWS, 6), DType::F32)?, &good)),
            ("other type", y.inplace_op2(&zeros((ROWS, 5), DType::F64)?, &good)),
            ("transposed input", y.inplace_op2(&zeros((5, ROWS), DType::F32)?.t()?, &good)),
        ] {
            assert!(result.is_err(), "{case} was taken");
        }
        Ok(())
    }
}
