/// Stands in for the transpose buffer while the control path is placed: registers on every port,
/// no buffer. Ports and parameters are those of rtl/pim_transpose.sv.
module pim_transpose #(
  parameter int unsigned Size = 32,
  parameter int unsigned TagBits = 8,
  /// Not used here.
  parameter int unsigned Spacing = 4,
  parameter int unsigned IndexBits = 12
) (
  input  logic                      clk_i,
  input  logic                      rst_ni,
  input  logic                      flush_i,
  input  logic                      open_i,
  input  logic [TagBits-1:0]        tag_i,
  input  logic [IndexBits-1:0]      base_i,
  input  logic [$clog2(Size+1)-1:0] slices_i,
  output logic                      room_o,
  input  logic                      valid_i,
  input  logic [Size*16-1:0]        data_i,
  output logic                      valid_o,
  output logic [Size*16-1:0]        data_o,
  output logic [TagBits-1:0]        tag_o,
  output logic [IndexBits-1:0]      index_o,
  output logic                      idle_o
);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      room_o <= 1'b1;
      valid_o <= 1'b0;
      idle_o <= 1'b1;
    end else begin
      room_o <= !open_i;
      valid_o <= valid_i && slices_i[0];
      idle_o <= !open_i && !valid_i;
    end
    if (open_i) begin
      tag_o <= tag_i;
      index_o <= base_i ^ IndexBits'(slices_i);
    end
    if (valid_i) data_o <= data_i;
  end

endmodule
