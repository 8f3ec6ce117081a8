// Generated from conditions.toml by `python -m pimloop.rtl.tools.generate`: do not edit.

`default_nettype none

/// Elaboration fails where parameters of pim_top break a condition of conditions.toml.
module pim_conditions #(
  parameter longint AllBank = 0,
  parameter longint Banks = 0,
  parameter longint BankGroups = 0,
  parameter longint RowBytes = 0,
  parameter longint Rows = 0,
  parameter longint AtomBytes = 0,
  parameter longint CkRatio = 0,
  parameter longint Lanes = 0,
  parameter longint RowsPerBeat = 0,
  parameter longint AccGroups = 0,
  parameter longint ScalarDepth = 0,
  parameter longint LaneLatency = 0,
  parameter longint VectorSetup = 0,
  parameter longint TransposeWays = 0,
  parameter longint NativeLanes = 0,
  parameter longint TckFs = 0,
  parameter longint TRcdRd = 0,
  parameter longint TRcdWr = 0,
  parameter longint TRp = 0,
  parameter longint TRas = 0,
  parameter longint TRc = 0,
  parameter longint TCcdS = 0,
  parameter longint TCcdL = 0,
  parameter longint TRrdS = 0,
  parameter longint TRrdL = 0,
  parameter longint TFaw = 0,
  parameter longint TWr = 0,
  parameter longint TRtp = 0,
  parameter longint TWtrS = 0,
  parameter longint TWtrL = 0,
  parameter longint TRefi = 0,
  parameter longint TRfc = 0,
  parameter longint TXs = 0,
  parameter longint TXsdll = 0,
  parameter longint TCl = 0,
  parameter longint TCwl = 0,
  parameter longint TBl = 0
) ();

  localparam longint BeatBytes = (AllBank * (Banks - 1) + 1) * AtomBytes;
  localparam longint BeatElems = BeatBytes / 2;
  localparam longint Capacity = Banks * RowBytes * Rows;
  localparam longint MostLanes = BeatElems * RowsPerBeat;
  localparam longint LaneSets = (Lanes + BeatElems - 1) / BeatElems;
  localparam longint LanePasses = RowsPerBeat / LaneSets * ((BeatElems + Lanes - 1) / Lanes);
  localparam longint LaneSpacing = CkRatio * LanePasses;
  localparam longint ReadClocks = TCl + TBl;
  localparam longint WriteClocks = TCwl + TBl;
  localparam longint CloseClocks = TRas + WriteClocks + TWr + TRtp;
  localparam longint RefreshClocks = CloseClocks + TRc + TRp + TFaw + TRfc + TRcdRd + TRcdWr + LaneSpacing + 8 * CkRatio;

  if (!(AllBank == 0 || AllBank == 1)) begin : gen_0
    $error("%m: there are two styles");
  end

  if (!(Banks >= 2 && Banks <= 256 && (Banks & (Banks - 1)) == 0)) begin : gen_1
    $error("%m: Banks must be a power of two from 2 to 256");
  end

  if (!(BankGroups >= 1 && Banks % BankGroups == 0)) begin : gen_2
    $error("%m: BankGroups does not divide Banks");
  end

  if (!(BankGroups >= 2)) begin : gen_3
    $error("%m: the scheduler tells bank groups apart: there must be at least two");
  end

  if (!(AtomBytes == 32 || AtomBytes == 64)) begin : gen_4
    $error("%m: AtomBytes must be 32 or 64: the host side moves 64 bytes at a time");
  end

  if (!(BeatBytes >= 64 && BeatBytes <= 4096)) begin : gen_5
    $error("%m: AtomBytes gives a beat of BeatBytes bytes, at least 64 and at most 4096 are possible");
  end

  if (!(AllBank == 0 || Banks <= 32)) begin : gen_6
    $error("%m: the lanes of all banks together are masked by bank, of at most 32 banks");
  end

  if (!(RowBytes >= 2 * AtomBytes && (RowBytes & (RowBytes - 1)) == 0)) begin : gen_7
    $error("%m: RowBytes must be a power of two with at least two columns of AtomBytes");
  end

  if (!(Rows >= 2 && (Rows & (Rows - 1)) == 0)) begin : gen_8
    $error("%m: Rows must be a power of two, at least 2");
  end

  if (!(Capacity <= 64'sd4294967296)) begin : gen_9
    $error("%m: device addresses have 32 bits: at most 4 GiB");
  end

  if (!(CkRatio >= 2 && CkRatio <= 16 && (CkRatio & (CkRatio - 1)) == 0)) begin : gen_10
    $error("%m: CkRatio must be 2, 4, 8 or 16");
  end

  if (!(TckFs >= 1 && TckFs <= 100000000)) begin : gen_11
    $error("%m: the DRAM clock must have a period of 1 to 100,000,000 femtoseconds");
  end

  if (!(RowsPerBeat == 1 || RowsPerBeat == 2 || RowsPerBeat == 4 || RowsPerBeat == 8)) begin : gen_12
    $error("%m: RowsPerBeat must be 1, 2, 4 or 8");
  end

  if (!(Lanes >= 1 && Lanes <= MostLanes)) begin : gen_13
    $error("%m: a beat feeds at most MostLanes lanes, BeatElems for each of RowsPerBeat rows, and there must be one");
  end

  if (!(Lanes % BeatElems == 0 || Lanes < BeatElems)) begin : gen_14
    $error("%m: lanes beyond the BeatElems elements of a beat serve another row: Lanes must be a multiple of BeatElems then");
  end

  if (!(RowsPerBeat % LaneSets == 0)) begin : gen_15
    $error("%m: Lanes serve LaneSets rows at the same time, which must divide RowsPerBeat");
  end

  if (!(LaneSpacing <= 4096)) begin : gen_16
    $error("%m: so few lanes need LaneSpacing DRAM clocks for a beat: at most 4096");
  end

  if (!(LaneLatency >= 1 && LaneLatency <= 32)) begin : gen_17
    $error("%m: LaneLatency must be 1 to 32");
  end

  if (!(NativeLanes != 0 || LaneLatency >= 4)) begin : gen_18
    $error("%m: RTL lanes are a pipeline of four clocks: LaneLatency must be at least 4");
  end

  if (!(AccGroups >= 2 && AccGroups <= 64 && (AccGroups & (AccGroups - 1)) == 0)) begin : gen_19
    $error("%m: AccGroups must be a power of two from 2 to 64: at most 64 are possible");
  end

  if (!(ScalarDepth >= 32 && ScalarDepth <= 65536 && (ScalarDepth & (ScalarDepth - 1)) == 0)) begin : gen_20
    $error("%m: ScalarDepth must be a power of two from 32 to 65536");
  end

  if (!(ScalarDepth >= AtomBytes)) begin : gen_21
    $error("%m: the scalar buffer must hold two atoms");
  end

  if (!(VectorSetup >= 0 && VectorSetup <= 65535)) begin : gen_22
    $error("%m: VectorSetup must be 0 to 65535");
  end

  if (!(TransposeWays == 1 || TransposeWays == 2 || TransposeWays == 4 || TransposeWays == 8)) begin : gen_23
    $error("%m: TransposeWays must be 1, 2, 4 or 8");
  end

  if (!(TransposeWays <= AccGroups)) begin : gen_24
    $error("%m: blocks that leave in turns work on different beats of a tile: TransposeWays must not exceed AccGroups");
  end

  if (!(TRcdRd >= 1 && TRcdRd <= 1023)) begin : gen_25
    $error("%m: TRcdRd must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TRcdWr >= 1 && TRcdWr <= 1023)) begin : gen_26
    $error("%m: TRcdWr must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TRp >= 1 && TRp <= 1023)) begin : gen_27
    $error("%m: TRp must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TRas >= 1 && TRas <= 1023)) begin : gen_28
    $error("%m: TRas must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TRc >= 1 && TRc <= 1023)) begin : gen_29
    $error("%m: TRc must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TCcdS >= 1 && TCcdS <= 1023)) begin : gen_30
    $error("%m: TCcdS must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TCcdL >= 1 && TCcdL <= 1023)) begin : gen_31
    $error("%m: TCcdL must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TRrdS >= 1 && TRrdS <= 1023)) begin : gen_32
    $error("%m: TRrdS must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TRrdL >= 1 && TRrdL <= 1023)) begin : gen_33
    $error("%m: TRrdL must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TFaw >= 1 && TFaw <= 1023)) begin : gen_34
    $error("%m: TFaw must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TWr >= 1 && TWr <= 1023)) begin : gen_35
    $error("%m: TWr must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TRtp >= 1 && TRtp <= 1023)) begin : gen_36
    $error("%m: TRtp must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TWtrS >= 1 && TWtrS <= 1023)) begin : gen_37
    $error("%m: TWtrS must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TWtrL >= 1 && TWtrL <= 1023)) begin : gen_38
    $error("%m: TWtrL must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TRfc >= 1 && TRfc <= 8191)) begin : gen_39
    $error("%m: TRfc must be 1 to 8191: stamps have 16 bits");
  end

  if (!(TXs >= 1 && TXs <= 8191)) begin : gen_40
    $error("%m: TXs must be 1 to 8191: stamps have 16 bits");
  end

  if (!(TXsdll >= 1 && TXsdll <= 8191)) begin : gen_41
    $error("%m: TXsdll must be 1 to 8191: stamps have 16 bits");
  end

  if (!(TCl >= 1 && TCl <= 1023)) begin : gen_42
    $error("%m: TCl must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TCwl >= 1 && TCwl <= 1023)) begin : gen_43
    $error("%m: TCwl must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TBl >= 1 && TBl <= 1023)) begin : gen_44
    $error("%m: TBl must be 1 to 1023: stamps have 16 bits");
  end

  if (!(TCcdS >= CkRatio)) begin : gen_45
    $error("%m: at most one column command leaves in a fabric clock");
  end

  if (!(TCcdL >= TCcdS)) begin : gen_46
    $error("%m: commands within a bank group are at least as far apart as across groups: TCcdL is below TCcdS");
  end

  if (!(TCcdL <= TCl + 2 * TBl + 2 + TWtrL)) begin : gen_47
    $error("%m: a RD may follow another of its bank group when it may follow the WR between them: TCcdL must not exceed TCl, two bursts, two clocks and TWtrL");
  end

  if (!(TRrdL >= TRrdS)) begin : gen_48
    $error("%m: commands within a bank group are at least as far apart as across groups: TRrdL is below TRrdS");
  end

  if (!(TWtrL >= TWtrS)) begin : gen_49
    $error("%m: commands within a bank group are at least as far apart as across groups: TWtrL is below TWtrS");
  end

  if (!(TBl <= TCcdS)) begin : gen_50
    $error("%m: bursts must not overlap on the data bus");
  end

  if (!((ReadClocks + CkRatio - 1) / CkRatio >= LaneLatency)) begin : gen_51
    $error("%m: LaneLatency must not exceed the read latency in fabric clocks");
  end

  if (!(ReadClocks <= 64 * CkRatio)) begin : gen_52
    $error("%m: the read latency must be at most 64 fabric clocks");
  end

  if (!(WriteClocks > 3 * CkRatio && WriteClocks <= 64 * CkRatio)) begin : gen_53
    $error("%m: the write latency must be 4 to 64 fabric clocks");
  end

  if (!(TCwl <= ReadClocks + 1)) begin : gen_54
    $error("%m: write data must not start before the read data of a command sent earlier have ended");
  end

  if (!(TRc >= TRas && TRc >= TRp)) begin : gen_55
    $error("%m: TRc must not be shorter than its parts TRas and TRp");
  end

  if (!(TRefi >= 0 && 2 * TRefi + TRfc + 1024 < 65536)) begin : gen_56
    $error("%m: TRefi is too long for stamps of 16 bits");
  end

  if (!(TRefi == 0 || TCcdL <= TRfc)) begin : gen_57
    $error("%m: no rule may reach beyond a refresh: TCcdL must not exceed TRfc");
  end

  if (!(TRefi == 0 || TFaw <= TRfc)) begin : gen_58
    $error("%m: no rule may reach beyond a refresh: TFaw must not exceed TRfc");
  end

  if (!(TRefi == 0 || TRc <= TRfc)) begin : gen_59
    $error("%m: no rule may reach beyond a refresh: TRc must not exceed TRfc");
  end

  if (!(TRefi == 0 || TRrdL <= TRfc)) begin : gen_60
    $error("%m: no rule may reach beyond a refresh: TRrdL must not exceed TRfc");
  end

  if (!(TRefi == 0 || WriteClocks + TWr <= TRfc)) begin : gen_61
    $error("%m: no rule may reach beyond a refresh: write data and TWr must not exceed TRfc");
  end

  if (!(TRefi == 0 || WriteClocks + TWtrL <= TRfc)) begin : gen_62
    $error("%m: no rule may reach beyond a refresh: write data and TWtrL must not exceed TRfc");
  end

  if (!(TRefi == 0 || TXs + RefreshClocks < TRefi)) begin : gen_63
    $error("%m: TRefi leaves no time for work between refreshes, which take up to RefreshClocks clocks");
  end

endmodule

`default_nettype wire
