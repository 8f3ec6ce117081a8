/// Test module: ends the simulation in the way that `how_i` asks for.
module stops (
  input logic       clk_i,
  input logic [2:0] how_i
);

  always_ff @(posedge clk_i) begin
    case (how_i)
      3'd1: $finish;
      3'd2: $stop;
      3'd3: $fatal(1, "asked for");
      default: ;
    endcase
    assert (how_i != 3'd4);
  end

endmodule
