/// A counter with an enable: the smallest module that shows whether a bench works.
module counter #(
    parameter int Width = 8
) (
    input  logic             clk_i,
    input  logic             rst_ni,
    input  logic             en_i,
    output logic [Width-1:0] count_o,
    output logic             wrap_o
);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_o <= '0;
      wrap_o  <= 1'b0;
    end else if (en_i) begin
      count_o <= count_o + 1'b1;
      wrap_o  <= &count_o;
    end
  end
endmodule
